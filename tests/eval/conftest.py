import pytest

from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor


@pytest.fixture(scope="module")
def model(encoder_reference, llm_reference):
    return SpeechLLM.from_references(encoder_reference, llm_reference, {"type": "pooled", "vectors": 4})


@pytest.fixture(scope="module")
def processor(model):
    return SpeechLLMProcessor.for_config(model.config)
