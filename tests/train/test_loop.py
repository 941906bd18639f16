import json

import pytest
import torch
from runs import context_of, log
from transformers import AutoModelForCausalLM, AutoTokenizer

from speechllm import SpeechLLM, SpeechLLMProcessor
from speechllm.data.render import PromptRenderer, describe_audio
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import Sampling, SpeechReplier
from speechllm.testing.tiny import tiny_llm
from speechllm.train import loop
from speechllm.train.data import Example, conversation, pair_up
from speechllm.train.ranks import Ranks
from speechllm.train.run import common_system_prompt
from speechllm.train.sources import TrainingSource


def teach_text(reference, corpus, steps=60):
    """Makes the random LLM answer the corpus's questions from the descriptions, so that an adapter can be learned."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(reference), AutoTokenizer.from_pretrained(reference)
    renderer = PromptRenderer(tokenizer)
    pairs = [
        renderer.conversation(describe_audio(record.messages, [record.seed_description]), record.response)
        for record in corpus.records
    ]
    batch = tokenizer([text for text, _ in pairs], return_tensors="pt", padding=True, padding_side="right")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    for row, (text, start) in zip(labels, pairs, strict=True):
        row[: len(tokenizer(text[:start])["input_ids"])] = -100
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        ids = {key: batch[key] for key in ("input_ids", "attention_mask")}
        model(**ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(reference)


def test_an_adapter_learns_to_hear(train_config, corpus, tmp_path):
    torch.manual_seed(0)
    llm = tiny_llm(tmp_path / "llm")
    teach_text(llm, corpus)
    adapter = {"type": "pooled", "vectors": 10, "hidden_size": 64, "dropout": 0.0}
    stage = {"objective": "cross_entropy", "steps": 100, "batch_size": 4, "learning_rate": 0.01}
    model = {"llm": llm, "transcript": False}
    config = train_config(tmp_path / "run", model=model, adapter=adapter, stages=[stage])
    source = TrainingSource(corpus.utterances[:4], corpus.records[:4])
    run = loop.prepare(config, context_of(config), [source], Ranks())
    loop.fit(run)
    losses = [entry["loss"] for entry in log(config)]
    assert losses[0] > 0.5
    assert losses[-1] < 0.1
    replier = SpeechReplier(run.model, run.context.processor)
    asked = [conversation(e.target.messages, e.utterance, transcript=False) for e in run.examples["cross_entropy"]]
    replies = replier(asked, Sampling(max_new_tokens=24))
    assert [r.text for r in replies] == [e.target.response for e in run.examples["cross_entropy"]]
    assert {r.finish_reason for r in replies} == {"stop"}


def test_train_leaves_a_checkpoint_that_loads(train_config, corpus, tmp_path):
    config = train_config(tmp_path / "run")
    folder = loop.train(config)
    assert folder == tmp_path / "run" / "checkpoint"
    model = SpeechLLM.from_pretrained(folder)
    SpeechLLMProcessor.from_pretrained(folder)
    assert model.config.system_prompt == "Focus on the audio and the instruction."
    facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert facts["targets"] == 8
    assert facts["datasets"] == ["tones"]
    assert facts["strategies"] == {"self_output": 8}
    trained = torch.load(tmp_path / "run" / "state.pt")["adapter"]
    assert all(torch.equal(tensor, trained[name]) for name, tensor in model.adapter_state().items())


def rewritten(corpus, path, how):
    lines = corpus.targets.read_text(encoding="utf-8").splitlines()
    records = [how(i, json.loads(line)) for i, line in enumerate(lines)]
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return {"targets": str(path)}


def test_replies_that_cannot_be_taught_are_left_out_and_told(train_config, corpus, tmp_path, capsys):
    def spoil(i, record):
        texts = {2: "She <|im_end|> is.", 4: "  \n", 5: "<|audio|>"}
        return record | {"response": texts.get(i, record["response"])}

    config = train_config(tmp_path / "run", data=rewritten(corpus, tmp_path / "t.jsonl", spoil))
    folder = loop.train(config)
    assert json.loads((folder / "training.json").read_text(encoding="utf-8"))["targets"] == 5
    told = " ".join(capsys.readouterr().err.split())
    assert "left out 2 of 7 targets, the last 'tone-5/pitch': the reply '<|audio|>' holds the control token" in told


def test_targets_none_of_which_can_be_taught_are_an_error(train_config, corpus, tmp_path):
    data = rewritten(corpus, tmp_path / "t.jsonl", lambda i, record: record | {"response": "<|im_end|>"})
    with pytest.raises(SpeechLLMError, match="no target can be learned; 'tone-7/pitch': "):
        loop.train(train_config(tmp_path / "run", data=data))


def test_the_system_prompt_of_the_model_is_that_of_all_targets(corpus):
    examples = pair_up(corpus.utterances, corpus.records)
    assert common_system_prompt(examples) == "Focus on the audio and the instruction."
    other = corpus.records[0].model_copy(update={"messages": corpus.records[0].messages[1:]})
    assert common_system_prompt([*examples, Example(corpus.utterances[0], other)]) is None
    assert common_system_prompt([Example(u) for u in corpus.utterances]) is None
