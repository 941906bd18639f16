"""Text-only targets (replay) beside targets about audio, where the LLM itself learns."""

import pytest
import torch
from runs import context_of

from speechllm.data.render import ask
from speechllm.errors import SpeechLLMError
from speechllm.train import loop
from speechllm.train.data import pair_up
from speechllm.train.objectives import OBJECTIVES

LORA = {"rank": 4, "alpha": 8.0, "where": "everywhere"}
LEARNING = {"lora": {"lora": LORA}, "full": {"train_llm": True}}


@pytest.fixture
def replay(corpus):
    return corpus.records[0].model_copy(
        update={
            "id": "replay-1",
            "utterance_id": "",
            "audio": "",
            "seed_description": "",
            "messages": ask("What is the capital of France?"),
            "prompt": "What is the capital of France?",
            "response": "It is Paris.",
            "strategy": "pseudo_replay",
        }
    )


@pytest.mark.parametrize("learning", sorted(LEARNING))
@pytest.mark.parametrize("objective", ["cross_entropy", "distillation"])
def test_a_batch_of_both_is_the_sum_of_its_parts(learning, objective, replay, corpus, train_config, tmp_path):
    stage = {"objective": objective, "steps": 1, "batch_size": 3}
    still = {"type": "pooled", "vectors": 10, "hidden_size": 16, "dropout": 0.0}
    config = train_config(tmp_path, model=LEARNING[learning], stages=[stage], adapter=still)
    context = context_of(config)
    assert context.model.learns_text
    examples = pair_up(corpus.utterances, [*corpus.records[:2], replay], True)
    assert [example.hears for example in examples] == [True, True, False]
    kind = OBJECTIVES[objective](context, config.stages[0])
    with torch.no_grad():
        whole, items = kind(examples, 0)
        parts = [kind([example], 0) for example in examples]
    assert items == sum(n for _, n in parts)
    torch.testing.assert_close(whole, sum(loss for loss, _ in parts), rtol=1e-4, atol=1e-6)


def test_replay_teaches_the_llm(replay, corpus, train_config, tmp_path):
    stage = {"objective": "cross_entropy", "steps": 1, "batch_size": 1}
    context = context_of(train_config(tmp_path, model=LEARNING["lora"], stages=[stage]))
    loss, _ = OBJECTIVES["cross_entropy"](context, train_config(tmp_path, stages=[stage]).stages[0])(
        pair_up([], [replay], True), 0
    )
    loss.backward()
    moved = {name for name, p in context.model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert moved
    assert all("lora" in name for name in moved)


def test_a_run_takes_replay_where_the_llm_learns_and_refuses_it_elsewhere(replay, corpus, train_config, tmp_path):
    from speechllm.data.jsonl import write_jsonl

    targets = tmp_path / "targets.jsonl"
    write_jsonl(targets, [*corpus.records, replay])
    data = {"targets": str(targets)}
    stages = [{"objective": "cross_entropy", "steps": 3, "batch_size": 4}]
    loop.train(train_config(tmp_path / "lora", model=LEARNING["lora"], stages=stages, data=data))
    assert (tmp_path / "lora" / "checkpoint" / "adapter.safetensors").is_file()
    for name, model in {"adapter": {}, "gated": {"lora": LORA | {"where": "audio"}}}.items():
        with pytest.raises(SpeechLLMError, match=r"'replay-1' is text only \(pseudo_replay\)"):
            loop.train(train_config(tmp_path / name, model=model, stages=stages, data=data))
