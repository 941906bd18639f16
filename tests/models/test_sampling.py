import pytest

from speechllm.errors import SpeechLLMError
from speechllm.models.reply import Sampling, compute_device, compute_dtype


@pytest.mark.parametrize("values", [{"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_sampling_refuses_what_cannot_be_drawn(values):
    with pytest.raises(SpeechLLMError, match=next(iter(values))):
        Sampling(**values)


def test_unknown_device_is_one_clear_line():
    with pytest.raises(SpeechLLMError, match="device 'cud' cannot be used"):
        compute_device("cud")


def test_device_and_dtype_by_name():
    assert compute_device("cpu").type == "cpu"
    assert str(compute_dtype("float32")) == "torch.float32"
