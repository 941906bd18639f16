import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from speechllm.data.render import PromptRenderer, ask
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import Sampling, TextReplier
from speechllm.targets.generate import Generator, generate, works
from speechllm.targets.masking import Masker, Surprisal, mean_surprisal
from speechllm.targets.records import read_targets
from speechllm.targets.strategies.gold import Gold

REPLIES = ["The pitch is low.", "Male or female?", "", "Write it down. The speaker is female."]


@pytest.fixture(scope="module")
def llm(llm_reference):
    return AutoModelForCausalLM.from_pretrained(llm_reference).eval(), AutoTokenizer.from_pretrained(llm_reference)


def test_surprisal_is_minus_log_p_of_each_token_of_the_reply(llm):
    """Against one reply at a time, without padding; the batch holds prompts and replies of several lengths."""
    model, tokenizer = llm
    conversations = [ask("Is the pitch low or high?" * (1 + k)) for k in range(len(REPLIES))]
    found = Surprisal(model, tokenizer)(conversations, REPLIES)
    for messages, reply, row in zip(conversations, REPLIES, found, strict=True):
        prompt = tokenizer(PromptRenderer(tokenizer).prompt(messages), add_special_tokens=False)["input_ids"]
        ids = tokenizer(reply, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
        expected = [-float(logits[len(prompt) - 1 + k, token]) for k, token in enumerate(ids)]
        assert row == pytest.approx(expected, abs=1e-5)
    assert found[2] == []
    assert mean_surprisal([[1.0, 2.0], [], [6.0]]) == 3.0
    assert math.isnan(mean_surprisal([[]]))


def test_tokens_above_the_limit_are_masked_and_the_mask_is_stored(llm, corpus, tmp_path):
    model, tokenizer = llm
    surprisal = Surprisal(model, tokenizer)
    from speechllm.data.prompts import Prompt

    prompt = Prompt(id="p", kind="transcribe", text="Write it down.")
    work = works([(u, prompt) for u in corpus.utterances], {"gold": 1.0})
    seen = surprisal([w.item.described for w in work], [u.text for u in corpus.utterances])
    middle = math.exp(sorted(seen[0])[len(seen[0]) // 2])
    generator = Generator(TextReplier(model, tokenizer), "x", "0")
    out = tmp_path / "t.jsonl"
    generate(work, {"gold": Gold()}, generator, Sampling(), out, masker=Masker(surprisal, middle))
    records = read_targets(out)
    for record in records:
        assert len(record.token_mask) == len(tokenizer(record.response, add_special_tokens=False)["input_ids"])
    for k, record in enumerate(records):
        assert record.token_mask == [int(s <= math.log(middle)) for s in seen[k]]
    assert {0, 1} == {m for record in records for m in record.token_mask}
    # Another limit is another job.
    again = generate(work, {"gold": Gold()}, generator, Sampling(), out, masker=Masker(surprisal, 1e9))
    assert {m for record in again for m in record.token_mask} == {1}


def test_a_limit_below_one_is_an_error(llm):
    with pytest.raises(SpeechLLMError, match="a perplexity is at least 1"):
        Masker(Surprisal(*llm), 0.5)
