import dataclasses
import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from speechllm import SpeechLLMProcessor
from speechllm.cli import main
from speechllm.config import StageConfig
from speechllm.errors import SpeechLLMError
from speechllm.models.modeling import SpeechLLM
from speechllm.train import bench
from speechllm.train.bench_modes import Switches, switched
from speechllm.train.data import pair_up

SMALL = {"queries": 10, "blocks": 1, "size": 8, "heads": 2, "ffn_size": 8, "dropout": 0.0}
STAGE = StageConfig(objective="cross_entropy", steps=1, batch_size=4, learning_rate=1e-4)
NAMES = [field.name for field in dataclasses.fields(Switches)]


@pytest.fixture
def tiny(corpus, encoder_reference, llm_reference):
    torch.manual_seed(0)
    model = SpeechLLM.from_references(encoder_reference, llm_reference, {"type": "qformer", **SMALL})
    examples = pair_up(corpus.utterances, corpus.records)
    return bench.Bench(model, SpeechLLMProcessor.for_config(model.config), examples, STAGE, epochs=2)


def losses(tiny, switches, monkeypatch):
    """Mean loss over all examples, one step of each batch, without moving the weights."""
    seen = []
    real = bench.take_step

    def kept(*args):
        state = {name: tensor.detach().clone() for name, tensor in tiny.model.adapter_state().items()}
        seen.append(real(*args))
        with torch.no_grad():
            for name, tensor in tiny.model.adapter_state().items():
                tensor.copy_(state[name])
        return seen[-1]

    with monkeypatch.context() as patch:
        patch.setattr(bench, "take_step", kept)
        yielded = list(bench._steps(tiny, switches, "test"))
    assert [items for items, _ in yielded] == [out.items for out in seen]
    return sum(out.loss * out.items for out in seen) / sum(out.items for out in seen)


@pytest.mark.parametrize("off", [name for name in NAMES if name != "own_length"])
def test_an_optimisation_changes_no_loss(off, tiny, monkeypatch):
    """But for padding to 30 s, over which Whisper's encoder attends to silence."""
    expected = losses(tiny, Switches(), monkeypatch)
    found = losses(tiny, dataclasses.replace(Switches(), **{off: False}), monkeypatch)
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("off", ["own_length", "encode_once", "reply_rows", "share_prefix"])
def test_without_it_there_is_more_arithmetic(off, tiny):
    def flops(switches):
        with FlopCounterMode(display=False) as counter:
            list(bench._steps(tiny, switches, "test"))
        return counter.get_total_flops()

    assert flops(dataclasses.replace(Switches(), **{off: False})) > 1.05 * flops(Switches())


def test_taps_are_looped_over_and_attention_is_plain_only_where_it_is_said(tiny):
    blocks = []
    hook = tiny.model.multi_modal_projector.blocks[0].register_forward_hook(lambda *_: blocks.append(1))
    encoded = (torch.randn(2, 2, 5, 16), torch.ones(2, 5, dtype=torch.bool))
    taps = tiny.model.multi_modal_projector.queries.shape[0]
    encoded = (encoded[0][:, :1].expand(-1, taps, -1, -1), encoded[1])
    fused = tiny.model.language_model.config._attn_implementation
    with switched(tiny.model, Switches.none()):
        looped, _ = tiny.model.project(encoded)
        assert len(blocks) == taps
        assert tiny.model.language_model.config._attn_implementation == "eager"
    batched, _ = tiny.model.project(encoded)
    assert len(blocks) == taps + 1
    assert tiny.model.language_model.config._attn_implementation == fused != "eager"
    torch.testing.assert_close(looped, batched)
    hook.remove()


def test_the_command_prints_one_object(corpus, encoder_reference, llm_reference, capsys):
    command = ["bench", "train", str(corpus.manifest), str(corpus.targets), "--encoder", encoder_reference]
    command += ["--llm", llm_reference, "--adapter", "pooled", "--dtype", "float32", "--device", "cpu"]
    assert main([*command, "--batch-size", "4", "--epochs", "1", "--profile", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["modes"]) == {"all on", "all off"}
    on, off = found["modes"]["all on"], found["modes"]["all off"]
    assert found["ratio"] == pytest.approx(on["reply_tokens_per_second"] / off["reply_tokens_per_second"], rel=0.02)
    assert found["steps"] == 2
    assert found["clips"] == 8
    for mode in found["modes"].values():
        assert mode["seconds_a_step"] > 0
        assert 0 <= mode["share_of_peak"] < 1
        assert mode["peak_memory_gb"] > 0
    assert on["share_of_peak"] > off["share_of_peak"]
    assert 0 < found["profile"]["matrix products"] < 1


def test_each_optimisation_can_be_off_alone():
    off = {name: [n for n in NAMES if not getattr(mode, n)] for name, mode in Switches.without_one().items()}
    assert off == {f"no {name}": [name] for name in NAMES}
    assert not any(getattr(Switches.none(), name) for name in NAMES)


def test_too_few_clips_for_a_batch_are_an_error(tiny):
    few = dataclasses.replace(tiny, stage=dataclasses.replace(STAGE, batch_size=32), epochs=1)
    with pytest.raises(SpeechLLMError, match="8 clips are less than a batch of 32"):
        bench.bench_training(few, {})


def test_a_profile_of_one_step_is_refused(corpus, encoder_reference, llm_reference, capsys):
    """It divided by zero."""
    command = ["bench", "train", str(corpus.manifest), str(corpus.targets), "--encoder", encoder_reference]
    command += ["--llm", llm_reference, "--adapter", "pooled", "--device", "cpu"]
    assert main([*command, "--batch-size", "8", "--epochs", "1", "--profile"]) == 2
    assert "give more --clips or --epochs" in capsys.readouterr().err
