import pytest
import torch

from speechllm.errors import SpeechLLMError
from speechllm.models.adapters import ADAPTERS, build_adapter, num_vectors

TAPS, AUDIO, TEXT, FRAMES = 3, 8, 12, 10
SMALL = {
    "pooled": {"type": "pooled", "vectors": 5, "hidden_size": 16},
    "qformer": {"type": "qformer", "queries": 4, "blocks": 2, "size": 8, "heads": 2, "ffn_size": 16},
    "stack": {"type": "stack", "stack": 4, "hidden_size": 16},
    "convolution": {"type": "convolution", "convolutions": 2, "kernel_size": 3, "bottleneck_size": 6},
    "decoder": {"type": "decoder", "queries": 6, "blocks": 2, "heads": 2, "ffn_size": 16},
}


def small(kind, **settings):
    torch.manual_seed(0)
    return build_adapter(SMALL[kind] | settings, num_layers=TAPS, audio_size=AUDIO, text_size=TEXT).eval()


def padded(*lengths):
    torch.manual_seed(1)
    return torch.randn(len(lengths), TAPS, max(lengths), AUDIO), torch.arange(max(lengths)) < torch.tensor(lengths)[
        :, None
    ]


def run(adapter, states, mask):
    return adapter(*adapter.reduce(states, mask))


def test_every_adapter_is_covered_here():
    assert set(SMALL) == set(ADAPTERS)


@pytest.mark.parametrize("kind", SMALL)
def test_shapes_and_the_number_of_vectors_that_the_processor_counts_on(kind):
    vectors, valid = run(small(kind), *padded(FRAMES, 3))
    assert vectors.shape == (2, num_vectors(SMALL[kind], FRAMES), TEXT)
    assert valid.shape == vectors.shape[:2]
    assert valid.dtype == torch.bool
    assert valid.sum(1).tolist() == [num_vectors(SMALL[kind], FRAMES), num_vectors(SMALL[kind], 3)]


@pytest.mark.parametrize("kind", SMALL)
def test_the_number_of_vectors_is_right_with_default_settings_too(kind):
    adapter = build_adapter({"type": kind}, num_layers=TAPS, audio_size=AUDIO, text_size=TEXT)
    assert run(adapter, *padded(FRAMES))[0].shape[1] == num_vectors({"type": kind}, FRAMES)


@pytest.mark.parametrize("kind", SMALL)
def test_padding_changes_nothing(kind):
    adapter = small(kind)
    lengths = (FRAMES, 1, 6)
    states, mask = padded(*lengths)
    together, valid = run(adapter, states.masked_fill(~mask[:, None, :, None], 1e4), mask)
    for row, length in enumerate(lengths):
        alone, _ = run(adapter, states[row : row + 1, :, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(together[row][valid[row]], alone[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", SMALL)
def test_reduced_states_have_one_valid_flag_a_row(kind):
    """What the audio store keeps of a clip is `states[:, :mask.sum()]`."""
    states, mask = small(kind).reduce(*padded(FRAMES, 4))
    assert states.shape[:2] == (2, TAPS)
    assert mask.shape == (2, states.shape[2])


def test_pooled_statistics_are_mean_and_deviation_of_the_real_frames():
    states, mask = padded(FRAMES, 4)
    pooled, _ = small("pooled").reduce(states.masked_fill(~mask[:, None, :, None], 50.0), mask)
    real = states[1, :, :4]
    expected = torch.cat([real.mean(1), (real.var(1, correction=0) + 1e-6).sqrt()], dim=-1)
    torch.testing.assert_close(pooled[1, :, 0], expected, atol=1e-5, rtol=1e-5)


def test_pooled_vectors_have_their_size_however_far_from_the_training_data_a_voice_is():
    adapter = small("pooled", dropout=0.0)
    adapter.set_text_scale(0.3)
    with torch.no_grad():
        adapter.text_scale[2] = 0.7
    pooled, mask = adapter.reduce(*padded(FRAMES, 4))
    for far in (0.05, 1.0, 20.0):
        sizes = adapter(far * pooled, mask)[0].square().mean(-1).sqrt()
        torch.testing.assert_close(sizes, torch.tensor([[0.3, 0.3, 0.7, 0.3, 0.3]] * 2))


def test_pooled_statistics_start_standardised_over_the_training_data():
    adapter = small("pooled", dropout=0.0)
    pooled, mask = adapter.reduce(*padded(FRAMES, 4, 7, 9, 2))
    with torch.no_grad():
        pooled = pooled * 30 + 100
        adapter.calibrate(pooled, mask)
    seen = []
    adapter.hidden.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    adapter(pooled, mask)
    torch.testing.assert_close(seen[0].mean(0), torch.zeros(TAPS * 2 * AUDIO), atol=1e-3, rtol=0)
    torch.testing.assert_close(seen[0].std(0, correction=0), torch.ones(TAPS * 2 * AUDIO), atol=1e-2, rtol=0)


def test_the_qformer_runs_all_taps_at_once_as_if_one_by_one():
    adapter = small("qformer")
    with torch.no_grad():
        adapter.tap_weights.normal_()
    states, mask = padded(FRAMES, 4)
    together, _ = adapter(states, mask)
    weights = adapter.tap_weights.softmax(dim=-1)
    mixed = torch.zeros(2, 4, 8)
    for tap in range(TAPS):
        x = adapter.queries[tap].expand(2, -1, -1)
        for block in adapter.blocks:
            x = block(x, states[:, tap], mask)
        mixed = mixed + x * weights[:, tap][None, :, None]
    expected = adapter.out(adapter.norm(mixed)) * adapter.text_scale
    torch.testing.assert_close(together, expected, atol=1e-5, rtol=1e-5)


def test_the_taps_of_each_query_start_with_equal_weight():
    weights = small("qformer").tap_weights.softmax(dim=-1)
    assert weights.shape == (4, TAPS)
    torch.testing.assert_close(weights, torch.full((4, TAPS), 1 / TAPS))


@pytest.mark.parametrize("kind", SMALL)
def test_vectors_start_at_the_size_of_the_embeddings(kind):
    adapter = small(kind)
    plain, _ = run(adapter, *padded(FRAMES))
    adapter.set_text_scale(0.05)
    torch.testing.assert_close(run(adapter, *padded(FRAMES))[0], plain * 0.05)


@pytest.mark.parametrize("kind", SMALL)
def test_every_parameter_takes_part(kind):
    adapter = small(kind).train()
    run(adapter, *padded(FRAMES, 4))[0].square().sum().backward()
    assert [name for name, parameter in adapter.named_parameters() if parameter.grad is None] == []


PUBLISHED = {
    # arXiv 2409.20007: "about 22 M" beside Whisper-small and Llama-3-8B
    "DeSTA2": ({"type": "qformer"}, 4, 768, 4096, 22_251_777),
    # arXiv 2507.02768: 131 M beside Whisper-large-v3 and Llama-3.1-8B
    "DeSTA2.5-Audio": (
        {"type": "qformer", "blocks": 6, "size": 1280, "heads": 20, "ffn_size": 3072},
        4,
        1280,
        4096,
        131_540_225,
    ),
    # UltravoxProjector with projector_ln_mid, hidden_size 4096 beside Whisper-large-v3-turbo and Llama-3.1-8B:
    # 10240 + 10240 x 4096 + 2048 + 2048 x 4096, and our two (weight of the one tap, text_scale)
    "Ultravox v0.6": ({"type": "stack"}, 1, 1280, 4096, 50_343_936 + 2),
    # "13.1 M" beside Whisper-large-v3 and Qwen3-4B: LayerNorm 5120, two Linear of 2560 x 2560 + 2560
    "tutorial": ({"type": "stack", "stack": 2, "hidden_size": 2560, "gated": False}, 1, 1280, 2560, 13_117_440 + 2),
    # DiVA's connector beside Whisper-large-v3 and Llama-3-8B: 32 decoder layers of 26,236,160, LayerNorm 2560, queries
    # 448 x 1280, Linear 1280 x 4096 + 4096
    "DiVA": (
        {"type": "decoder", "queries": 448, "blocks": 32, "heads": 20, "ffn_size": 5120},
        1,
        1280,
        4096,
        845_380_096 + 2,
    ),
    # BlspModel's subsampler, adapter and speech_ln beside Whisper-small and Llama-2-7B: two Conv1d(768, 1536, 5),
    # Conv1d(768, 8192, 5), 2 x 4096 x 512, LayerNorm 8192
    "BLSP": ({"type": "convolution"}, 1, 768, 4096, 47_467_520 + 2),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_parameter_count_is_that_of_the_published_models(name):
    settings, num_layers, audio_size, text_size, expected = PUBLISHED[name]
    with torch.device("meta"):
        adapter = build_adapter(settings, num_layers=num_layers, audio_size=audio_size, text_size=text_size)
    assert sum(parameter.numel() for parameter in adapter.parameters()) == expected


def test_stacked_frames_go_through_the_mlp_that_ultravox_describes():
    adapter = small("stack")
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_()
    states, mask = padded(7)
    frames = (states[0] * adapter.taps.weights.softmax(0)[:, None, None]).sum(0)
    pre, first, _, middle, last = adapter.mlp

    def rms(x, weight):
        return x / (x.square().mean() + 1e-6).sqrt() * weight

    for number, rows in enumerate([frames[:4], torch.cat([frames[4:], torch.zeros(1, AUDIO)])]):
        up = first.weight @ rms(rows.flatten(), pre.weight)
        gated = up[:16] * up[16:] * torch.sigmoid(up[16:])
        expected = last.weight @ rms(gated, middle.weight) * adapter.text_scale
        torch.testing.assert_close(adapter(states, mask)[0][0, number], expected, atol=1e-4, rtol=1e-4)


def test_one_convolution_sees_its_neighbours_alone():
    adapter = small("convolution")
    states, mask = padded(9)
    moved = states.clone()
    moved[:, :, 8] += 1.0
    same = (adapter(states, mask)[0] == adapter(moved, mask)[0]).all(-1)[0]
    # Vector i sees the frames from 4 i - 3 to 4 i + 3, two convolutions of width 3 and stride 2.
    assert same.tolist() == [True, True, False]


@pytest.mark.parametrize("kind", ["stack", "convolution"])
def test_the_weights_of_the_taps_choose_between_them(kind):
    adapter = small(kind)
    with torch.no_grad():
        adapter.taps.weights.copy_(torch.tensor([-1e4, 0.0, -1e4]))
    states, mask = padded(FRAMES)
    others = states.clone()
    others[:, [0, 2]] = 7.0
    torch.testing.assert_close(adapter(states, mask), adapter(others, mask))
    others[:, 1] = 7.0
    assert not torch.allclose(adapter(states, mask)[0], adapter(others, mask)[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"type": "qfromer"}, "adapter.type 'qfromer' is not known; did you mean 'qformer'?"),
        ({}, "adapter.type None is not known"),
        ({"type": "pooled", "vektors": 3}, "vektors"),
        ({"type": "qformer", "vectors": 3}, "vectors"),
        ({"type": "qformer", "size": 10, "heads": 4}, "heads"),
        ({"type": "qformer", "size": 10, "heads": 0}, "heads"),
        ({"type": "pooled", "vectors": 0}, "vectors"),
        ({"type": "stack", "stack": 0}, "stack"),
        ({"type": "convolution", "kernel_size": 4}, "kernel_size"),
        ({"type": "convolution", "convolutions": 0}, "convolutions"),
        ({"type": "decoder", "queries": 0}, "queries"),
        ({"type": "decoder", "heads": 3}, "num_heads"),
    ],
)
def test_unknown_types_and_settings_are_errors(settings, message):
    with pytest.raises(SpeechLLMError) as caught:
        build_adapter(settings, num_layers=TAPS, audio_size=AUDIO, text_size=TEXT)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_counting_vectors_checks_the_type_too():
    with pytest.raises(SpeechLLMError, match=r"adapter\.type 'x' is not known"):
        num_vectors({"type": "x"}, FRAMES)
