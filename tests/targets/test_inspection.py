import pytest

from speechllm import stages
from speechllm.cli import main
from speechllm.data.jsonl import write_jsonl
from speechllm.data.render import describe_audio
from speechllm.targets.inspection import (
    dropped_by_prompt,
    fates_by_strategy,
    inspect_targets,
    surprisal_by_strategy,
    write_page,
)
from speechllm.targets.masking import mean_surprisal


def test_counts_of_a_targets_file(corpus):
    first = corpus.records[0]
    records = [
        *corpus.records,
        first.model_copy(update={"id": "a", "response": "I'm sorry, I can't hear it.", "finish_reason": "length"}),
        first.model_copy(update={"id": "b", "prompt": "Other?", "token_mask": [1, 0, 0, 1]}),
    ]
    tables = {table.title: {row[0]: row[1] for row in table.rows} for table in inspect_targets(records)}
    assert tables["strategies"] == {"self_output (scripted)": "10"}
    assert tables["prompts"] == {"Is the pitch low or high?": "9", "Other?": "1"}
    assert tables["how replies end"] == {"stop": "9", "length": "1"}
    assert tables["filter verdicts"] == {"truncated": "1", "refusal": "1"}
    assert tables["words of a reply"]["longest"] == "7"
    assert tables["token masks"] == {"4": "2"}


def test_surprise_is_told_by_strategy_with_the_description_read(corpus, llm_reference):
    read = stages.load_surprisal(llm_reference)
    other = corpus.records[0].model_copy(update={"response": "xyzzy plugh", "strategy": "gold"})
    table = surprisal_by_strategy([*corpus.records, other], read)
    conversations = [describe_audio(r.messages, [r.seed_description]) for r in corpus.records]
    own, gold = read(conversations, [r.response for r in corpus.records]), read(conversations[:1], ["xyzzy plugh"])
    assert table.rows == [
        ("gold", "1", f"{len(gold[0]):.1f}", f"{mean_surprisal(gold):.3f}"),
        ("self_output", "8", f"{sum(map(len, own)) / 8:.1f}", f"{mean_surprisal(own):.3f}"),
    ]


def test_what_became_of_the_replies_is_told_by_strategy():
    told = {"kept": 3, "replaced": 1, "dropped": 0, "mean_reply_words": 4.25}
    none = {"kept": 0, "replaced": 0, "dropped": 9, "mean_reply_words": None}
    table = fates_by_strategy([{"strategies": {"selective": told}}, {"strategies": {"gold": none}}])
    assert table.rows == [("gold", "0", "0", "9", "-"), ("selective", "3", "1", "0", "4.2")]


def test_prompts_whose_replies_were_dropped_come_worst_first():
    first = {"prompts": {"Often?": {"asked": 8, "dropped": 2}, "In one\nword?": {"asked": 2, "dropped": 2}}}
    second = {"prompts": {"Often?": {"asked": 2, "dropped": 2}}}
    table = dropped_by_prompt([first, second, {"strategies": {}}])
    assert table.rows == [("In one word?", "2", "100%"), ("Often?", "10", "40%")]


def test_many_prompts_are_counted_together(corpus):
    records = [corpus.records[0].model_copy(update={"prompt": f"{k}?"}) for k in range(30)]
    rows = next(table for table in inspect_targets(records) if table.title == "prompts").rows
    assert rows[-1][:2] == ("10 others", "10")


def test_the_page_shows_records_and_escapes_them(corpus, tmp_path):
    records = [corpus.records[0].model_copy(update={"response": "<script>alert(1)</script>"})]
    write_page(tmp_path / "page.html", records, "targets")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>" not in page
    assert "tone-0" in page


def test_the_command(corpus, tmp_path, capsys):
    assert main(["targets", "inspect", str(corpus.targets), "--html", str(tmp_path / "page.html")]) == 0
    said = capsys.readouterr().out
    assert "filter verdicts" in said
    assert (tmp_path / "page.html").exists()


@pytest.mark.parametrize("way", ["to-desta", "from-desta"])
def test_a_missing_file_is_one_line(way, tmp_path, capsys):
    assert main(["targets", way, str(tmp_path / "none.jsonl"), str(tmp_path / "out.jsonl")]) == 2
    assert "none.jsonl: cannot be read" in capsys.readouterr().err
    write_jsonl(tmp_path / "none.jsonl", [])
