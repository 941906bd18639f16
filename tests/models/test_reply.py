import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from speechllm import SpeechLLM, SpeechLLMProcessor
from speechllm.audio.io import save_audio
from speechllm.data.render import PromptRenderer, ask
from speechllm.errors import SpeechLLMError
from speechllm.models.clips import Clips
from speechllm.models.reply import Sampling, SpeechReplier, TextReplier, compute_device, compute_dtype, stop_ids
from speechllm.testing.corpus import tone

QUESTIONS = ["Who?", "Is the speaker male or female?", "Is the pitch low or high? Write it down.", "Hi"]


@pytest.fixture(scope="module")
def llm(llm_reference):
    return AutoModelForCausalLM.from_pretrained(llm_reference), AutoTokenizer.from_pretrained(llm_reference)


@pytest.fixture(scope="module")
def speech(encoder_reference, llm_reference):
    torch.manual_seed(0)
    model = SpeechLLM.from_references(encoder_reference, llm_reference, {"type": "pooled", "vectors": 3})
    return model, SpeechLLMProcessor.for_config(model.config)


def heard(hertz):
    return ask("Who?", audio={"audio": tone(0.2 + hertz / 5000, hertz)})


def test_replies_come_in_the_order_of_the_questions(llm):
    """Longest first inside, so that little is padding."""
    one_by_one = [TextReplier(*llm)([ask(q)], Sampling(6))[0] for q in QUESTIONS]
    assert len({reply.text for reply in one_by_one}) > 1
    for size in (1, 2, 32):
        assert TextReplier(*llm, batch_size=size)([ask(q) for q in QUESTIONS], Sampling(6)) == one_by_one


def test_speech_is_answered_in_order_and_as_the_text_llm_where_there_is_none(speech, llm):
    talk = [heard(200), ask("Who?"), heard(2000), heard(700)]
    one_by_one = [SpeechReplier(*speech)([t], Sampling(6))[0] for t in talk]
    assert SpeechReplier(*speech, batch_size=2)(talk, Sampling(6)) == one_by_one
    assert SpeechReplier(*speech)([ask("Who?")], Sampling(6)) == TextReplier(*llm)([ask("Who?")], Sampling(6))


LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": "all-linear"}


@pytest.mark.parametrize("lora", [None, {**LORA, "where": "audio"}, {**LORA, "where": "everywhere"}])
@pytest.mark.parametrize("adapter", [{"type": "pooled", "vectors": 3}, {"type": "stack", "hidden_size": 8}])
def test_speech_is_decoded_as_generate_does(encoder_reference, llm_reference, adapter, lora):
    """Clips of other lengths, the same clip asked twice, two clips in one prompt, text alone; leaving and joining."""
    torch.manual_seed(0)
    model = SpeechLLM.from_references(encoder_reference, llm_reference, adapter, **({"lora": lora} if lora else {}))
    for name, weight in model.adapter_state().items():
        if "lora_B" in name:
            weight.data.normal_(std=0.5)
    model.language_model.generation_config.eos_token_id = list(range(0, 356, 8))
    processor = SpeechLLMProcessor.for_config(model.config)
    talk = [heard(hertz) for hertz in (200, 2000, 700, 200, 3000)]
    talk += [ask(q, audio={"audio": tone(0.3, 500)}) for q in QUESTIONS]
    talk += [ask(q) for q in QUESTIONS]
    talk.append([{"role": "user", "content": [*heard(300)[-1]["content"], *heard(900)[-1]["content"]]}])
    some = processor(talk[:5])
    model.multi_modal_projector.calibrate(*model.encode_audio(some["input_features"], some["input_features_mask"]))
    model.multi_modal_projector.set_text_scale(1.0)  # so loud that replies depend on what is heard
    expected = SpeechReplier(model, processor, batch_size=1, plain=True)(talk, Sampling(12))
    assert len({reply.text for reply in expected[:5]}) > 1
    assert {reply.finish_reason for reply in expected} == {"stop", "length"}
    for size in (1, 3, 64):
        assert SpeechReplier(model, processor, batch_size=size)(talk, Sampling(12)) == expected


def test_speech_is_written_with_generate_where_the_decoder_does_not_know_the_llm(speech, monkeypatch):
    talk = [heard(200), ask("Who?"), heard(2000)]
    fast = SpeechReplier(*speech)(talk, Sampling(6))
    monkeypatch.setattr("speechllm.models.reply.supports_fast_decoding", lambda model: False)
    monkeypatch.setattr("speechllm.models.reply.Decoder", None)
    assert SpeechReplier(*speech)(talk, Sampling(6)) == fast


def test_no_conversations_have_no_replies(speech, llm):
    assert SpeechReplier(*speech)([], Sampling(6)) == TextReplier(*llm)([], Sampling(6)) == []


def test_adapters_do_not_drop_out_while_they_answer(speech):
    model, processor = speech
    model.train()
    replies = SpeechReplier(model, processor)([heard(300)], Sampling(6))
    assert not model.training
    assert replies == SpeechReplier(model, processor)([heard(300)], Sampling(6))


def test_a_turn_ends_at_the_end_of_turn_and_else_is_cut(llm, monkeypatch):
    model, tokenizer = llm
    stop = tokenizer.convert_tokens_to_ids("<|im_end|>")
    word = tokenizer("male", add_special_tokens=False)["input_ids"]
    longest = len(word) + 2

    def generate(input_ids, eos_token_id, **kwargs):
        assert stop in eos_token_id
        endings = [[stop, tokenizer.pad_token_id], word[:1] * 2, [stop, stop]]
        return torch.cat([input_ids, torch.tensor([word + ending for ending in endings])], dim=1)

    monkeypatch.setattr(model, "generate", generate)
    monkeypatch.setattr("speechllm.models.reply.supports_fast_decoding", lambda model: False)
    same = [ask("Who?")] * 3
    replies = TextReplier(model, tokenizer)(same, Sampling(longest))
    assert [r.finish_reason for r in replies] == ["stop", "length", "stop"]
    assert [r.text for r in replies[::2]] == ["male", "male"]
    assert replies[1].text.startswith("male")


def test_all_ids_that_end_a_turn_stop(llm):
    model, tokenizer = llm
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    renderer = PromptRenderer(tokenizer)
    for own, expected in ((None, [end]), (0, [0, end]), ([0, 5], sorted([0, 5, end]))):
        before = model.generation_config.eos_token_id
        model.generation_config.eos_token_id = own
        assert stop_ids(model, tokenizer, renderer) == expected
        model.generation_config.eos_token_id = before


def test_drawing_is_seeded(llm):
    def draw(seed):
        return TextReplier(*llm)([ask(q) for q in QUESTIONS], Sampling(8, temperature=1.0, seed=seed))

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)


def test_devices_and_types():
    assert compute_device("cpu") == torch.device("cpu")
    assert compute_device().type in {"cpu", "cuda"}
    assert compute_dtype("float16") == torch.float16
    assert compute_dtype() in {torch.float32, torch.bfloat16, torch.float16}


def test_models_that_the_decoder_does_not_know_write_the_same_with_generate(llm, monkeypatch):
    conversations = [ask(q) for q in QUESTIONS]
    fast = TextReplier(*llm, batch_size=3)(conversations, Sampling(6))
    monkeypatch.setattr("speechllm.models.reply.supports_fast_decoding", lambda model: False)
    assert TextReplier(*llm, batch_size=3)(conversations, Sampling(6)) == fast


def test_replies_that_are_compared_are_all_written_with_generate(llm, monkeypatch):
    """A speech LLM's are; the decoder's rounding must not look like forgetting."""
    monkeypatch.setattr("speechllm.models.reply.Decoder", None)
    assert len(TextReplier(*llm, plain=True)([ask("Who?")], Sampling(3))) == 1
    with pytest.raises(TypeError):
        TextReplier(*llm)([ask("Who?")], Sampling(3))


def test_a_reply_that_does_not_fit_the_context_is_an_error(llm, speech):
    with pytest.raises(SpeechLLMError, match="do not fit the LLM's context of 512"):
        SpeechReplier(*speech)([heard(300)], Sampling(600))
    with pytest.raises(SpeechLLMError, match="do not fit the LLM's context of 512; shorten the prompt or lower"):
        TextReplier(*llm)([ask("Who?")], Sampling(600))


def test_a_clip_is_encoded_once_however_many_prompts_are_about_it(speech, tmp_path):
    model, processor = speech
    paths = [tmp_path / f"{number}.wav" for number in range(2)]
    for number, path in enumerate(paths):
        save_audio(path, np.full(4800 + 800 * number, 0.1, np.float32), 16_000)
    talk = [ask(text, audio={"path": str(path)}) for text in ("Who?", "Who is it?", "How?") for path in paths]
    windows = []
    real = model.get_audio_features
    model.get_audio_features = lambda features, mask: (windows.append(len(features)), real(features, mask))[1]
    try:
        together = SpeechReplier(model, processor, batch_size=2)(talk, Sampling(6))
    finally:
        del model.get_audio_features
    assert sum(windows) == 2
    assert together == [SpeechReplier(*speech)([one], Sampling(6))[0] for one in talk]


def test_stretches_of_one_file_are_clips_of_their_own(speech, tmp_path):
    path = tmp_path / "long.wav"
    save_audio(path, np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32), 16_000)
    clips = Clips(*speech)
    parts = [{"path": str(path), "start": 0.0, "end": 0.3}, {"path": str(path), "start": 0.3, "end": 0.9}]
    (first,), (second,) = clips.hear([ask("Who?", audio=part) for part in parts])
    assert first[0] == [30]
    assert second[0] == [60]
    assert not torch.equal(first[1], second[1])


def test_sounds_in_memory_are_clips_of_their_own_whatever_their_url(speech):
    parts = [{"audio": np.full(samples, 0.1, np.float32), "url": "file:gone.wav"} for samples in (4800, 9600)]
    (first,), (second,) = Clips(*speech).hear([ask("Who?", audio=part) for part in parts])
    assert (first[0], second[0]) == ([30], [60])
