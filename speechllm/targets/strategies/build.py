"""Strategies by name, ready to use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from speechllm.data.render import PromptRenderer
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import Replier
from speechllm.targets.strategies.base import Strategy
from speechllm.targets.strategies.corrected import MinimalEdit, Paraphrase, Selective
from speechllm.targets.strategies.gold import Gold
from speechllm.targets.strategies.replay import ExperienceReplay, PseudoReplay, before_user
from speechllm.targets.strategies.self_output import CrossModel, SelfOutput


def build_strategies(
    names: Iterable[str],
    *,
    renderer: PromptRenderer | None = None,
    other: tuple[Replier, str, str] | None = None,
    shots: Sequence[str] = (),
    judge: bool = False,
) -> dict[str, Strategy]:
    """The strategies of those names (`parse_mix` checks them).

    Args:
        names: which.
        renderer: of the LLM's template, which `pseudo_replay` goes on from where no `shots` are given.
        other: `cross_model`'s LLM: who replies, its reference and the hash of its weights.
        shots: instructions that `pseudo_replay` shows to the LLM.
        judge: `paraphrase` and `selective` ask the LLM whether an answer agrees with gold, beside the rules.

    Raises:
        SpeechLLMError: a strategy lacks what it needs.
    """

    def cross() -> Strategy:
        if other is None:
            raise SpeechLLMError("strategy 'cross_model' needs another LLM; name it with --other-llm")
        return CrossModel(*other)

    def pseudo() -> Strategy:
        if renderer is None and not shots:
            raise SpeechLLMError(
                "strategy 'pseudo_replay' cannot see the template behind a server; show it instructions with"
                " --instructions"
            )
        return PseudoReplay(before_user(renderer) if renderer is not None and not shots else "", shots)

    makers: dict[str, Callable[[], Strategy]] = {
        "self_output": SelfOutput,
        "self_output_bare": lambda: SelfOutput("bare"),
        "self_output_continuation": lambda: SelfOutput("continuation"),
        "gold": Gold,
        "paraphrase": lambda: Paraphrase(judge=judge),
        "selective": lambda: Selective(judge=judge),
        "minimal_edit": MinimalEdit,
        "cross_model": cross,
        "experience_replay": ExperienceReplay,
        "pseudo_replay": pseudo,
    }
    return {name: makers[name]() for name in names}
