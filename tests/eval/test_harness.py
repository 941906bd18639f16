"""lm-evaluation-harness asks the LLM inside a checkpoint."""

import pytest
import torch

from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance

from speechllm.eval.harness import TextLM

CONTEXT, CONTINUATIONS = "The speaker is", (" female", " male and speaks slowly")


def test_loglikelihoods_are_those_of_a_plain_pass(encoder_reference, llm_reference):
    model = SpeechLLM.from_references(encoder_reference, llm_reference, {"type": "pooled", "vectors": 4})
    processor = SpeechLLMProcessor.for_config(model.config)
    asked = [_request(text, at) for at, text in enumerate(CONTINUATIONS)]
    found = TextLM(model, processor, batch_size=2).loglikelihood(asked, disable_tqdm=True)
    wanted = [_plain(model.language_model, processor.tokenizer, text) for text in CONTINUATIONS]
    assert [value for value, _ in found] == pytest.approx(wanted, rel=1e-4)
    assert wanted[0] != pytest.approx(wanted[1], rel=1e-2)


def test_the_trained_llm_is_asked(encoder_reference, llm_reference):
    model = SpeechLLM.from_references(encoder_reference, llm_reference, {"type": "pooled", "vectors": 4})
    processor = SpeechLLMProcessor.for_config(model.config)
    lm = TextLM(model, processor)
    (before, _), = lm.loglikelihood([_request(CONTINUATIONS[0], 0)], disable_tqdm=True)  # fmt: skip
    with torch.no_grad():
        for weight in model.language_model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    (after, _), = lm.loglikelihood([_request(CONTINUATIONS[0], 0)], disable_tqdm=True)  # fmt: skip
    assert after != pytest.approx(before, rel=1e-3)
    assert after == pytest.approx(_plain(model.language_model, processor.tokenizer, CONTINUATIONS[0]), rel=1e-4)


def _request(continuation, index):
    return Instance(request_type="loglikelihood", doc={}, arguments=(CONTEXT, continuation), idx=index)


def _plain(llm, tokenizer, continuation):
    context, whole = (tokenizer(text)["input_ids"] for text in (CONTEXT, CONTEXT + continuation))
    assert whole[: len(context)] == context
    with torch.no_grad():
        logits = llm(input_ids=torch.tensor([whole])).logits[0].float().log_softmax(-1)
    return sum(float(logits[at - 1, whole[at]]) for at in range(len(context), len(whole)))
