"""The Q-Former against an independent plain PyTorch reference, clip by clip, tap by tap, query by query."""

import math

import pytest
import torch

from speechllm.models.adapters import QFormer

TAPS, AUDIO, TEXT = 3, 8, 12
QUERIES, SIZE, HEADS, FFN = 4, 8, 2, 16
LENGTHS = (9, 1, 5)


@pytest.fixture(scope="module")
def adapter():
    """Every weight random and large, so that none of them can be mistaken for another."""
    torch.manual_seed(0)
    adapter = QFormer(TAPS, AUDIO, TEXT, queries=QUERIES, blocks=2, size=SIZE, heads=HEADS, ffn_size=FFN).eval()
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_(std=0.5)
    return adapter


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(1)
    states = torch.randn(len(LENGTHS), TAPS, max(LENGTHS), AUDIO)
    return states, torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]


def dense(weights, name, x):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def layer_norm(weights, name, x, eps):
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def attention(weights, name, x, keys):
    """Each query row and each head on its own; x (N, D), keys (T, K)."""
    width = SIZE // HEADS
    q, k, v = (dense(weights, f"{name}.{part}", y) for part, y in (("query", x), ("key", keys), ("value", keys)))
    mixed = torch.zeros_like(q)
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        for row in range(len(q)):
            scores = (k[:, part] * q[row, part]).sum(1) / math.sqrt(width)
            share = scores.exp() / scores.exp().sum()
            mixed[row, part] = (share[:, None] * v[:, part]).sum(0)
    return dense(weights, f"{name}.out", mixed)


def reference(weights, taps):
    """Vectors (N, D_text) of one clip; `taps` (L, T, A) holds its real frames only."""
    mixed = torch.zeros(QUERIES, SIZE)
    for number, frames in enumerate(taps):
        x = weights["queries"][number]
        for block in ("blocks.0", "blocks.1"):
            heard = x + attention(weights, f"{block}.attention", x, x)
            x = layer_norm(weights, f"{block}.attention_norm", heard, 1e-12)
            heard = x + attention(weights, f"{block}.cross", x, frames)
            x = layer_norm(weights, f"{block}.cross_norm", heard, 1e-12)
            inner = dense(weights, f"{block}.ffn.2", gelu(dense(weights, f"{block}.ffn.0", x)))
            x = layer_norm(weights, f"{block}.ffn_norm", x + inner, 1e-12)
        scores = weights["tap_weights"].exp()
        mixed = mixed + x * (scores[:, number] / scores.sum(1))[:, None]
    return dense(weights, "out", layer_norm(weights, "norm", mixed, 1e-5)) * weights["text_scale"]


@torch.no_grad()
def test_it_is_the_plain_reference_on_the_real_frames_of_each_clip(adapter, batch):
    """Float32; the largest difference seen is 2e-6, the tolerance 1e-5."""
    states, mask = batch
    vectors, valid = adapter(states.masked_fill(~mask[:, None, :, None], 1e4), mask)
    assert valid.all()
    weights = adapter.state_dict()
    for clip, taps, length in zip(vectors, states, LENGTHS, strict=True):
        torch.testing.assert_close(clip, reference(weights, taps[:, :length]), atol=1e-5, rtol=1e-5)


def test_the_gradients_are_those_of_the_plain_reference(adapter, batch):
    states, mask = batch
    weights = {name: tensor.detach().clone().requires_grad_() for name, tensor in adapter.state_dict().items()}
    for clip, length in zip(states, LENGTHS, strict=True):
        reference(weights, clip[:, :length]).square().sum().backward()
    adapter.zero_grad()
    adapter(states, mask)[0].square().sum().backward()
    for name, parameter in adapter.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad, atol=1e-3, rtol=1e-4, msg=name)
