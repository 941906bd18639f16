"""Judgements survive a kill."""

import pytest

from speechllm.eval import judge_store
from speechllm.eval.judge_store import StoredJudge
from speechllm.eval.judges import Question


class Counting:
    """Echoes what it is asked, and dies at the third question if told to."""

    def __init__(self, name="a", dies_at=None):
        self.name, self.dies_at, self.asked = name, dies_at, []

    def __call__(self, questions):
        for question in questions:
            if len(self.asked) == self.dies_at:
                raise KeyboardInterrupt
            self.asked.append(question.user)
        return [None if question.user == "?" else f"re: {question.user}" for question in questions]


QUESTIONS = [Question("", user, "label", "response") for user in ("1", "2", "3", "2", "?")]
REPLIES = ["re: 1", "re: 2", "re: 3", "re: 2", None]


def test_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(judge_store, "CHUNK", 1)
    path = tmp_path / "out/judgements.jsonl"
    with pytest.raises(KeyboardInterrupt):
        StoredJudge(Counting(dies_at=2), path)(QUESTIONS)
    again = Counting()
    assert StoredJudge(again, path)(QUESTIONS) == REPLIES
    assert again.asked == ["3", "?"]  # the question that stands twice was asked once
    third = Counting()
    assert StoredJudge(third, path)(QUESTIONS) == REPLIES
    assert third.asked == []


def test_a_line_cut_short_is_asked_again(tmp_path):
    path = tmp_path / "judgements.jsonl"
    StoredJudge(Counting(), path)(QUESTIONS[:2])
    path.write_text(path.read_text()[:-9])
    again = Counting()
    assert StoredJudge(again, path)(QUESTIONS[:2]) == REPLIES[:2]
    assert again.asked == ["2"]
    assert StoredJudge(Counting(dies_at=0), path)(QUESTIONS[:2]) == REPLIES[:2]


def test_another_judge_or_another_question_is_not_answered_from_the_file(tmp_path):
    path = tmp_path / "judgements.jsonl"
    StoredJudge(Counting(), path)(QUESTIONS[:1])
    other = Counting("b")
    StoredJudge(other, path)(QUESTIONS[:1])
    assert other.asked == ["1"]
    changed = Counting()
    StoredJudge(changed, path)([Question("be strict", "1", "label", "response")])
    assert changed.asked == ["1"]
