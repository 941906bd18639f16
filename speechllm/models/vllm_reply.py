"""Replies from vLLM in this process, for targets by the million on GPUs.

Written against vLLM's documented `LLM.chat` (docs.vllm.ai, offline inference); not measured here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from speechllm.data.render import Message, flatten
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import Reply, Sampling


class VLLMReplier:
    """A text LLM in vLLM's engine, which batches and caches prefixes itself; conversations hold no audio.

    Args:
        folder: of the model, or its Hugging Face id.
        settings: further arguments of `vllm.LLM` (`tensor_parallel_size`, ...).
    """

    def __init__(self, folder: str, **settings: Any) -> None:
        try:
            import vllm
        except ImportError as error:
            raise SpeechLLMError("the vLLM backend needs vllm; pip install speechllm[vllm]") from error
        self._vllm = vllm
        self._llm = vllm.LLM(model=folder, enable_prefix_caching=True, **settings)

    def __call__(
        self, conversations: Sequence[Sequence[Message]], sampling: Sampling, description: str = "replies"
    ) -> list[Reply]:
        """See `Replier`; vLLM shows its own progress."""
        drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.max_new_tokens}
        parameters = [self._vllm.SamplingParams(**drawn, seed=sampling.seed + k) for k in range(len(conversations))]
        plain = [[{"role": m["role"], "content": flatten(m["content"])} for m in c] for c in conversations]
        outputs = [done.outputs[0] for done in self._llm.chat(plain, parameters)]
        return [Reply(out.text, "length" if out.finish_reason == "length" else "stop") for out in outputs]

    def complete(self, texts: Sequence[str], sampling: Sampling, description: str = "replies") -> list[Reply]:
        """What the LLM writes after rendered strings."""
        drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.max_new_tokens}
        parameters = [self._vllm.SamplingParams(**drawn, seed=sampling.seed + k) for k in range(len(texts))]
        outputs = [done.outputs[0] for done in self._llm.generate(list(texts), parameters)]
        return [Reply(out.text, "length" if out.finish_reason == "length" else "stop") for out in outputs]
