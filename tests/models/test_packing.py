import pytest
import torch
from torch import nn

from speechllm.models.packing import can_pack, packed_linears


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 8, bias=False)).requires_grad_(False)


@pytest.mark.parametrize("shape", [(1, 24), (7, 1, 24), (3, 70, 24)])
def test_packed_products_are_the_same_up_to_rounding(model, shape):
    x = torch.randn(shape)
    expected = model(x)
    with torch.inference_mode(), packed_linears(model):
        assert ("forward" in vars(model[0])) == can_pack(model)
        torch.testing.assert_close(model(x), expected)


def test_nothing_is_changed_afterwards_even_by_an_error(model):
    x = torch.randn(2, 24)
    expected = model(x)
    with pytest.raises(KeyboardInterrupt), packed_linears(model):
        raise KeyboardInterrupt
    assert all("forward" not in vars(module) for module in model)
    assert torch.equal(model(x), expected)


def test_other_precisions_are_left_alone(model):
    assert not can_pack(model.to(torch.bfloat16))
    with packed_linears(model):
        assert "forward" not in vars(model[0])
