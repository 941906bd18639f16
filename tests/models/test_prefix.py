import pytest
import torch

from speechllm import SpeechLLM, SpeechLLMProcessor
from speechllm.config import ModelConfig
from speechllm.models.prefix import KEPT
from speechllm.testing.corpus import tone
from speechllm.train.llm import set_up

SYSTEM = {"role": "system", "content": "Focus on the audio and the instruction."}


@pytest.fixture
def built(encoder_reference, llm_reference):
    torch.manual_seed(0)
    adapter = {"type": "pooled", "vectors": 10, "hidden_size": 16, "dropout": 0.0}
    model = SpeechLLM.from_references(encoder_reference, llm_reference, adapter, transcript=False)
    return model, SpeechLLMProcessor.for_config(model.config)


def heard(*questions, system=SYSTEM):
    audio = [{"type": "audio", "audio": tone(0.3)}]
    return [
        [system, {"role": "user", "content": [*audio, {"type": "text", "text": question}]}] for question in questions
    ]


def read(*texts):
    return [[SYSTEM, {"role": "user", "content": text}] for text in texts]


def rows(model, batch, **settings):
    """Predictions and the gradients they give the adapter."""
    model.zero_grad()
    out = model.predict_replies(**batch, **settings)
    loss = torch.nn.functional.cross_entropy(out.logits.float(), out.wanted, reduction="sum")
    if loss.requires_grad:
        loss.backward()
    return out, [p.grad.clone() for p in model.adapter_state().values() if p.grad is not None]


def widths(model):
    """How many positions the LLM's first layer is run on, call by call."""
    seen = []
    layer = model.language_model.get_decoder().layers[0]
    layer.register_forward_pre_hook(lambda _, args, kwargs: seen.append(args[0].shape), with_kwargs=True)
    return seen


@pytest.mark.parametrize("conversations", [heard("Who is it?", "Is the pitch low or high?"), heard("Who is it?")])
def test_predictions_and_gradients_are_those_of_the_whole_prompt(conversations, built):
    model, processor = built
    batch = processor(conversations, ["He is.", "It is quite low."][: len(conversations)])
    model.prefix.enabled = False
    whole, gradients = rows(model, batch, output_hidden_states=True)
    model.prefix.enabled = True
    for _ in range(2):  # the second time it is in memory
        shared, found = rows(model, batch, output_hidden_states=True)
        torch.testing.assert_close(shared.logits, whole.logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(shared.hidden, whole.hidden, rtol=1e-4, atol=1e-5)
        assert torch.equal(shared.wanted, whole.wanted)
        assert any(bool(g.any()) for g in gradients)
        for ours, theirs in zip(found, gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_the_prefix_is_run_once_and_then_left_out(built):
    model, processor = built
    batch = processor(heard("Who is it?", "What is it?"), ["He is.", "It."])
    first_audio = int((batch["input_ids"][0] == model.config.audio_token_id).nonzero()[0])
    seen = widths(model)
    for _ in range(2):
        model.predict_replies(**batch)
    length = batch["input_ids"].shape[1]
    rest = (2, length - first_audio, seen[0][2])
    assert seen == [(1, first_audio, seen[0][2]), rest, rest]


def test_texts_share_what_they_begin_with(built):
    model, processor = built
    batch = processor(read("She says this.", "He says this."), ["Yes.", "No."])
    seen = widths(model)
    out, _ = rows(model, batch)
    model.prefix.enabled = False
    whole, _ = rows(model, batch)
    assert len(seen) == 3
    assert seen[1][1] < seen[2][1]
    torch.testing.assert_close(out.logits, whole.logits, rtol=1e-4, atol=1e-5)


def test_a_reply_that_all_rows_share_is_not_left_out(built):
    model, processor = built
    same = read("Say it.", "Say it.")
    out, _ = rows(model, processor(same, ["Yes.", "Yes."]))
    model.prefix.enabled = False
    whole, _ = rows(model, processor(same, ["Yes.", "Yes."]))
    assert out.logits.shape == whole.logits.shape
    torch.testing.assert_close(out.logits, whole.logits, rtol=1e-4, atol=1e-5)


def test_nothing_is_shared_where_it_would_be_wrong_or_useless(built):
    model, processor = built
    batch = processor(heard("Who is it?", "What is it?"), ["He is.", "It."])
    arguments = (batch["input_ids"], batch["labels"], batch["attention_mask"], model.config.audio_token_id)

    def length():
        return model.prefix.find(model.language_model, *arguments)[0]

    expected = length()
    assert expected >= 4
    weight = next(model.language_model.parameters())
    weight.requires_grad_(True)
    assert length() == 0, "the LLM learns"
    weight.requires_grad_(False)
    assert length() == expected
    alone = processor(read("She says this."), ["Yes."])
    arguments = (alone["input_ids"], alone["labels"], alone["attention_mask"], model.config.audio_token_id)
    assert length() == 0, "all of it would be shared with itself"
    no_system = [conversation[1:] for conversation in heard("Who is it?", "What?")]
    other = processor([no_system[0], heard("Who is it?")[0]], ["He is.", "It."])
    arguments = (other["input_ids"], other["labels"], other["attention_mask"], model.config.audio_token_id)
    assert length() < expected


def test_a_model_that_recomputes_shares_nothing(built):
    model, processor = built
    batch = processor(heard("Who is it?", "What is it?"), ["He is.", "It."])
    set_up(model.language_model, ModelConfig(encoder="e", llm="l", activation_checkpointing=True))
    seen = widths(model)
    model.predict_replies(**batch)
    assert [shape[1] for shape in seen] == [batch["input_ids"].shape[1]]


def test_few_prefixes_stay_in_memory(built):
    model, processor = built
    for number in range(KEPT + 5):
        system = {"role": "system", "content": f"Say {number} times what you hear in the audio."}
        model.predict_replies(**processor(heard("Who?", "What?", system=system), ["He.", "It."]))
    assert len(model.prefix._known) == KEPT
