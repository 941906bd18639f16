"""Small models for the tests beside this file."""

import torch

from speechllm import SpeechLLM, SpeechLLMProcessor

ADAPTERS = {
    "pooled": {"type": "pooled", "vectors": 10, "hidden_size": 16},
    "qformer": {"type": "qformer", "queries": 10, "blocks": 2, "size": 16, "heads": 2, "ffn_size": 32},
    "stack": {"type": "stack", "stack": 2, "hidden_size": 16},
    "convolution": {
        "type": "convolution",
        "convolutions": 1,
        "bottleneck_size": 6,
    },  # two leave too few vectors for tones
}


def build(encoder, llm, adapter=ADAPTERS["pooled"], **settings):
    torch.manual_seed(0)
    model = SpeechLLM.from_references(encoder, llm, adapter, **settings)
    return model, SpeechLLMProcessor.for_config(model.config)


def about(*clips, question="Who?"):
    parts = [{"type": "audio", "audio": clip} for clip in clips]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]
