import http.server
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, PreTrainedTokenizerFast, WhisperFeatureExtractor

from speechllm.audio.io import save_audio
from speechllm.data.render import ask
from speechllm.errors import SpeechLLMError
from speechllm.models.configuration import SpeechLLMConfig
from speechllm.models.processing import SpeechLLMProcessor, pad_features, read_audio_part
from speechllm.testing.corpus import tone
from speechllm.testing.tiny import CHAT_TEMPLATE, tiny_tokenizer

VECTORS = 3
EXACT = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n{audio}\nWho?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def config(encoder_reference, llm_reference):
    return SpeechLLMConfig(
        audio_config=AutoConfig.from_pretrained(encoder_reference),
        text_config=AutoConfig.from_pretrained(llm_reference),
        encoder=encoder_reference,
        llm=llm_reference,
        adapter={"type": "pooled", "vectors": VECTORS},
    )


@pytest.fixture(scope="module")
def processor(config):
    return SpeechLLMProcessor.for_config(config)


def about(*clips, system="S", question="Who?"):
    parts = [{"type": "audio", "audio": clip} for clip in clips]
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": [*parts, {"type": "text", "text": question}]},
    ]


def learned(processor, batch, row=0):
    labels = batch["labels"][row]
    return processor.decode(labels[labels != -100])


# ---------------------------------------------------------------- text


def test_the_text_is_tokenised_as_one_string(processor):
    batch = processor([about(tone(0.3))], ["She is."])
    whole = EXACT.format(audio="<|audio|>" * VECTORS) + "She is.<|im_end|>"
    assert batch["input_ids"][0].tolist() == processor.tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert batch["attention_mask"].all()
    assert learned(processor, batch) == "She is.<|im_end|>"
    prompt = processor([about(tone(0.3))])
    length = prompt["input_ids"].shape[1]
    assert "labels" not in prompt
    assert torch.equal(batch["input_ids"][:, :length], prompt["input_ids"]), "training sees another prompt than use"
    assert (batch["labels"][0, :length] == -100).all()


def test_the_placeholder_lies_outside_the_vocabulary_of_the_llm(processor, config):
    assert processor.audio_token_id == config.audio_token_id >= config.text_config.vocab_size


def test_an_incomplete_reply_teaches_no_end_of_turn(processor):
    batch = processor([about(tone(0.3))] * 2, ["She is", "She is"], [False, True])
    assert learned(processor, batch, 0) == "She is"
    assert learned(processor, batch, 1) == "She is<|im_end|>"


def test_an_empty_reply_that_was_cut_short_teaches_nothing(processor):
    batch = processor([about(tone(0.3))], [""], [False])
    assert (batch["labels"] == -100).all()


TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
WITH_SPACE = st.tuples(st.text(" \n\t\r\u00a0", max_size=3), TEXT, st.text(" \n", max_size=2)).map("".join)
PIECES = st.lists(
    st.sampled_from(["<|", "|>", "im_end", "<text>", "</s>", "[INST]", "\n", " ", "é", "👍🏽"]), max_size=6
)
LOOKALIKES = PIECES.map("".join).filter(lambda text: "<|im_end|>" not in text)


@settings(max_examples=150, deadline=None)
@given(reply=st.one_of(WITH_SPACE, LOOKALIKES), question=TEXT, complete=st.booleans())
@example(reply="\n\n  leading", question="q", complete=True)
@example(reply=" ", question="", complete=False)
def test_labels_are_exactly_the_reply(processor, reply, question, complete):
    conversation = [{"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": question}]}]
    batch = processor.tokenise([conversation], [[[20]]], [reply], [complete])
    assert learned(processor, batch) == reply + ("<|im_end|>" if complete else "")
    prompt = processor.tokenise([conversation], [[[20]]])["input_ids"]
    assert torch.equal(batch["input_ids"][:, : prompt.shape[1]], prompt)
    assert int((batch["input_ids"] == processor.audio_token_id).sum()) == VECTORS


@pytest.mark.parametrize("prefix", ["\n", " "])
def test_a_token_that_would_reach_from_the_prompt_into_the_reply_is_split(config, prefix):
    """Two line breaks are one token of many tokenizers, and a space belongs to the word behind it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["\n\n"] * 50 + ["a word word"] * 50, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE.replace("assistant\n", f"assistant{prefix}"),
    )
    processor = SpeechLLMProcessor(WhisperFeatureExtractor(), tokenizer, config)
    reply = {"\n": "\n\nword", " ": "word"}[prefix]
    joined = tokenizer(prefix + reply)["input_ids"]
    assert joined != tokenizer(prefix)["input_ids"] + tokenizer(reply)["input_ids"], "this tokenizer merges nothing"
    batch = processor.tokenise([ask("Who?")] * 2, [[], []], [reply, "x"])
    prompt = processor.tokenise([ask("Who?")], [[]])["input_ids"]
    for row, text in enumerate([reply, "x"]):
        assert torch.equal(batch["input_ids"][row, : prompt.shape[1]], prompt[0])
        assert learned(processor, batch, row) == text + "<|im_end|>"


def test_no_token_is_added_to_what_the_template_writes(config):
    """Llama's tokenizers put a beginning of text before every string, and its templates write one already."""
    tokenizer = tiny_tokenizer()
    begin = ("<|endoftext|>", tokenizer.convert_tokens_to_ids("<|endoftext|>"))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{begin[0]} $A", special_tokens=[begin])
    assert tokenizer("x")["input_ids"][0] == begin[1], "this tokenizer adds nothing"
    processor = SpeechLLMProcessor(WhisperFeatureExtractor(), tokenizer, config)
    taught = processor.tokenise([ask("Who?")], [[]], ["\n\nA man."])
    for batch in (processor.tokenise([ask("Who?")], [[]]), taught):
        assert begin[1] not in batch["input_ids"]
    assert learned(processor, taught) == "\n\nA man.<|im_end|>"


def test_replies_are_padded_on_the_right_and_prompts_on_the_left(processor):
    clips = [about(tone(0.3)), about(tone(0.3), question="Who is it? Who is it?")]
    prompts, taught = processor(clips), processor(clips, ["a", "a"])
    short = int(prompts["attention_mask"][0].sum())
    longest = prompts["input_ids"].shape[1]
    assert short < longest
    assert prompts["attention_mask"][0].tolist() == [0] * (longest - short) + [1] * short
    fill = taught["attention_mask"][0] == 0
    assert fill.tolist() == sorted(fill.tolist())
    assert fill.any()
    for batch, mask in ((prompts, prompts["attention_mask"]), (taught, taught["attention_mask"])):
        assert (batch["input_ids"][mask == 0] == processor.tokenizer.pad_token_id).all()
    assert (taught["labels"][0][fill] == -100).all()


def test_a_batch_is_its_rows(processor):
    clips = [about(tone(0.3)), ask("Hello?"), about(tone(0.9), tone(0.2), question="Who is it, who is it?")]
    replies = ["It is her.", "Hi", "Nobody."]
    batch = processor(clips, replies)
    for row, (messages, reply) in enumerate(zip(clips, replies, strict=True)):
        alone = processor([messages], [reply])
        valid = batch["attention_mask"][row].bool()
        assert torch.equal(batch["input_ids"][row][valid], alone["input_ids"][0])
        assert torch.equal(batch["labels"][row][valid], alone["labels"][0])


@pytest.mark.parametrize("text", ["<|audio|>", "say <|audio|><|audio|>"])
@pytest.mark.parametrize("clips", [0, 1])
def test_a_placeholder_in_the_users_text_is_an_error(processor, text, clips):
    with pytest.raises(SpeechLLMError, match=r"'<\|audio\|>' but \d audio parts; .*leave the placeholder out"):
        processor([about(*[tone(0.2)] * clips, question=text)])


def test_a_placeholder_in_the_transcript_is_an_error(processor):
    part = {"type": "audio", "audio": tone(0.2), "transcript": "so <|audio|> it goes"}
    with pytest.raises(SpeechLLMError, match="leave the placeholder out"):
        processor([[{"role": "user", "content": [part]}]])


@pytest.mark.parametrize("token", ["<|audio|>", "<|im_end|>", "<|im_start|>", "<|endoftext|>"])
def test_a_control_token_in_a_reply_is_an_error_that_quotes_the_reply(processor, token):
    """It would teach an end of turn, or a turn of the user's, in the middle of a reply."""
    for complete in (True, False):
        with pytest.raises(SpeechLLMError) as caught:
            processor([about(tone(0.2))], [f"She {token} is."], [complete])
        assert repr(token) in str(caught.value)
        assert "'She " in str(caught.value)


def test_a_conversation_beyond_the_context_of_the_llm_is_an_error(processor, config):
    limit = config.text_config.max_position_embeddings
    fits = processor.tokenise([ask("x" * 100)], [[]])["input_ids"].shape[1] - 100
    assert processor.tokenise([ask("x" * (limit - fits))], [[]])["input_ids"].shape[1] == limit
    for question, replies in (("x" * (limit - fits + 1), None), ("x", ["x" * limit])):
        with pytest.raises(SpeechLLMError, match=rf"takes \d+ positions \(0 of audio\), more than the {limit} that"):
            processor.tokenise([ask(question)], [[]], replies)
    with pytest.raises(SpeechLLMError, match=r"\(600 of audio\).*give shorter audio or text"):
        processor.tokenise([about(*[tone(0.2)])], [[[20] * 200]])


def test_the_transcript_follows_the_audio(processor):
    part = {"type": "audio", "audio": tone(0.2), "transcript": "hello there"}
    batch = processor([[{"role": "user", "content": [part, {"type": "text", "text": "Who?"}]}]])
    read = processor.decode(batch["input_ids"][0])
    assert "<|audio|>" * VECTORS + ' The speaker says: "hello there"\nWho?' in read


def test_the_end_of_turn_is_found_where_it_is_not_the_end_of_sequence(config):
    """Llama 3 and Gemma end a turn with a control token that has no name in `special_tokens_map`."""
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    processor = SpeechLLMProcessor(WhisperFeatureExtractor(), tokenizer, config)
    assert {"<|im_end|>", "<|audio|>"} <= set(processor.tokenizer.all_special_tokens), "adding one dropped the others"
    assert learned(processor, processor.tokenise([ask("Who?")], [[]], ["x"])) == "x<|im_end|>"


# ---------------------------------------------------------------- audio


def placeholders(processor, batch):
    return (batch["input_ids"] == processor.audio_token_id).sum(1).tolist()


def test_each_audio_of_each_message_gets_its_vectors_in_reading_order(processor):
    clips = [tone(0.2), tone(0.5), tone(0.4)]
    conversation = [
        *about(clips[0], clips[1]),
        {"role": "assistant", "content": "A man."},
        {"role": "user", "content": [{"type": "text", "text": "And"}, {"type": "audio", "audio": clips[2]}]},
    ]
    batch = processor([ask("Hello?"), conversation])
    assert placeholders(processor, batch) == [0, 3 * VECTORS]
    assert batch["input_features"].shape[0] == 3
    for row, mask, clip in zip(batch["input_features"], batch["input_features_mask"], clips, strict=True):
        assert torch.equal(row[:, mask], processor.features(clip)[0])


def test_text_alone_has_no_features(processor):
    assert set(processor([ask("Hello?")])) == {"input_ids", "attention_mask"}


def test_audio_runs_at_its_own_length_and_long_audio_in_windows(processor):
    assert [f.shape for f in processor.features(tone(1.0))] == [(80, 100)]
    assert [f.shape for f in processor.features(tone(30.0))] == [(80, 3000)]
    long = np.concatenate([tone(30.0), tone(30.0, 500.0), tone(1.0)])
    windows = processor.features(long)
    assert [f.shape for f in windows] == [(80, 3000), (80, 3000), (80, 100)]
    for window, piece in zip(windows, (tone(30.0), tone(30.0, 500.0), tone(1.0)), strict=True):
        assert torch.equal(window, processor.features(piece)[0])
    batch = processor([about(long)])
    assert placeholders(processor, batch) == [3 * VECTORS]
    assert batch["input_features_mask"].sum(1).tolist() == [3000, 3000, 100]


@pytest.mark.parametrize("samples", [1, 10, 319, 321, 1601])
def test_any_number_of_samples_gives_an_even_number_of_frames(processor, samples):
    [window] = processor.features(tone(1.0)[:samples])
    assert window.shape[1] % 2 == 0
    assert window.shape[1] >= 10
    assert window.isfinite().all()
    assert placeholders(processor, processor([about(tone(1.0)[:samples])])) == [VECTORS]


def test_one_sample_over_a_window_is_a_window_of_its_own(processor):
    assert [f.shape[1] for f in processor.features(tone(31.0)[: 30 * 16_000 + 1])] == [3000, 10]


def test_features_are_padded_on_the_right_with_a_mask():
    batch = pad_features([torch.ones(2, 4), torch.ones(2, 6)])
    assert batch["input_features"].shape == (2, 2, 6)
    assert batch["input_features"][0, 0].tolist() == [1, 1, 1, 1, 0, 0]
    assert batch["input_features_mask"].tolist() == [[True] * 4 + [False] * 2, [True] * 6]


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "a clip #1 ü.wav"
    save_audio(path, tone(0.5))
    return path


@pytest.fixture
def site(wav):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(wav.parent))

        def log_message(self, *args):
            pass

    (wav.parent / "clip.wav").write_bytes(wav.read_bytes())
    (wav.parent / "page.html").write_text("<html>")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_audio_is_read_from_paths_addresses_and_arrays(wav, site):
    expected = read_audio_part({"path": str(wav)})
    assert len(expected) == 8000
    parts = [
        {"path": wav},
        {"path": str(wav), "url": None, "start": None},
        {"url": wav.as_uri()},
        {"url": f"{site}/clip.wav"},
        {"audio": expected},
        {"audio": expected.tolist()},
        {"audio": {"array": expected, "sampling_rate": 16_000}},
        {"audio": {"array": expected, "sampling_rate": 16_000, "path": None}},
    ]
    for part in parts:
        np.testing.assert_array_equal(read_audio_part({"type": "audio", **part}), expected, err_msg=str(part)[:80])
    assert len(read_audio_part({"audio": {"array": tone(0.5), "sampling_rate": 8000}})) == 16_000
    for place in ({"path": wav}, {"url": wav.as_uri()}, {"url": f"{site}/clip.wav"}):
        np.testing.assert_array_equal(read_audio_part({**place, "start": 0.1, "end": 0.2}), expected[1600:3200])


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({}, 'give "path", "url" or "audio"'),
        ({"path": None}, 'give "path", "url" or "audio"'),
        ({"path": "missing.wav"}, "missing.wav: no such audio file"),
        ({"url": "file:///missing.wav"}, "/missing.wav: no such audio file"),
        ({"url": "ftp://host/a.wav"}, "ftp://host/a.wav: only file, http and https"),
        ({"url": "http://127.0.0.1:9/a.wav"}, "http://127.0.0.1:9/a.wav: cannot be fetched"),
        ({"audio": np.zeros((2, 100))}, r"expected shape (samples,), got (2, 100)"),
        ({"audio": "clip.wav"}, "expected shape (samples,)"),
        ({"audio": []}, "holds no samples"),
        ({"audio": [float("nan")] * 3}, "NaN or infinite"),
        ({"audio": {"bytes": b"", "path": "a.wav"}}, '"array" and "sampling_rate"'),
        ({"audio": {"array": [0.0]}}, '"array" and "sampling_rate"'),
        ({"audio": [0.0] * 100, "start": 1.0}, "cut the array itself"),
    ],
)
def test_bad_audio_parts_are_errors_that_say_what_to_give(processor, part, message):
    with pytest.raises(SpeechLLMError) as caught:
        processor([[{"role": "user", "content": [{"type": "audio", **part}]}]])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_page_that_is_no_audio_and_one_that_is_not_there_name_the_address(site):
    for page, message in (("page.html", "is not audio"), ("none.wav", "cannot be fetched: HTTP Error 404")):
        with pytest.raises(SpeechLLMError) as caught:
            read_audio_part({"url": f"{site}/{page}"})
        assert str(caught.value).startswith(f"{site}/{page}: {message}")


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "user", "content": [{"type": "image"}]}], "'image' is not known; use 'text' or 'audio'"),
        ([{"role": "user", "content": [{"text": "x"}]}], "None is not known"),
        ([{"role": "user", "content": [{"type": "text"}]}], "'text' is missing"),
        ([{"role": "user", "content": ["x"]}], "neither a string nor a list of parts"),
        ([{"role": "user", "content": None}], "neither a string nor a list of parts"),
        ([{"role": "user"}], "neither a string nor a list of parts"),
        ([{"content": "x"}], "is not a message"),
        ({"role": "user", "content": "x"}, "is not a message"),
    ],
)
def test_malformed_messages_are_errors(processor, messages, message):
    with pytest.raises(SpeechLLMError) as caught:
        processor([messages])
    assert message in str(caught.value)


# ---------------------------------------------------------------- the Hugging Face forms


def test_apply_chat_template(processor):
    one = about(tone(0.3))
    assert processor.apply_chat_template(one, tokenize=False) == EXACT.format(audio="<|audio|>")
    assert processor.apply_chat_template([one, one], tokenize=False) == [EXACT.format(audio="<|audio|>")] * 2
    direct = processor([one])
    for batch in (processor.apply_chat_template(one), processor.apply_chat_template([one])):
        assert set(batch) == set(direct)
        assert all(torch.equal(batch[key], direct[key]) for key in direct)


def test_save_and_load(processor, config, tmp_path):
    config.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = SpeechLLMProcessor.from_pretrained(tmp_path)
    conversations = [about(tone(0.3), tone(0.7)), ask("Hello?")]
    before, after = processor(conversations, ["a", "b"]), again(conversations, ["a", "b"])
    assert set(before) == set(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert again.audio_token_id == processor.audio_token_id


def test_a_folder_that_is_no_checkpoint_is_an_error(llm_reference, tmp_path):
    for folder in (llm_reference, str(tmp_path)):
        with pytest.raises(SpeechLLMError, match=Path(folder).name):
            SpeechLLMProcessor.from_pretrained(folder)
