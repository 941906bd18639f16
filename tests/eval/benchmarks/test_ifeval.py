"""IFEval: every kind of instruction, strict and loose, on rows written for this test."""

import json
import random
import subprocess
import sys

import pytest

from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.benchmark import Inputs
from speechllm.eval.benchmarks.checkers import Instructions, load_checkers, variants
from speechllm.eval.benchmarks.ifeval import IFEVAL
from speechllm.eval.benchmarks.responses import Row

SECOND = {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "so"}

CASES = [
    # instruction, its arguments, response, strict, loose
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "GO ON now", 1, 1),
    ("change_case:english_capital", {}, "THIS IS AN ENGLISH SENTENCE.", 1, 1),
    ("change_case:english_capital", {}, "DIES IST EIN DEUTSCHER SATZ UND SONST NICHTS.", 0, 0),
    ("change_case:english_capital", {}, "Sure:\nTHIS IS AN ENGLISH SENTENCE.", 0, 1),  # loose drops the first line
    ("change_case:english_lowercase", {}, "this is an english sentence.", 1, 1),
    ("change_case:english_lowercase", {}, "12345", 0, 0),  # no letter at all
    ("combination:repeat_prompt", {"prompt_to_repeat": "Why?"}, "  WHY? Because.", 1, 1),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Why?"}, '"Why?" Because.', 0, 0),  # quotes are in the way
    ("combination:repeat_prompt", {"prompt_to_repeat": "Why?"}, "Sure.\nWhy? Because.", 0, 1),
    ("combination:two_responses", {}, "yes******no", 1, 1),
    ("combination:two_responses", {}, "yes******yes", 0, 0),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] at [place]", 1, 1),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\np.s. and write", 1, 1),
    ("detectable_format:constrained_response", {}, "I think: My answer is yes.", 1, 1),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', 1, 1),
    ("detectable_format:json_format", {}, 'Here it is:\n{"a": 1}', 0, 1),
    ("detectable_format:json_format", {}, "{'a': 1}", 0, 0),
    ("detectable_format:json_format", {}, "[" * 3000, 0, 0),  # of a model that repeats itself
    ("detectable_format:json_format", {}, "```\n７\n```", 0, 0),  # a full-width digit is no JSON
    ("detectable_format:multiple_sections", {"section_spliter": "Part", "num_sections": 2}, "Part 1\nPart 2", 1, 1),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n- two", 1, 1),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "1. one\n2. two", 0, 0),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\\n* two", 0, 0),  # a literal \n ends no line
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* **two**", 1, 1),
    ("detectable_format:title", {}, "<<Rain>>\nIt rains.", 1, 1),
    ("detectable_format:title", {}, "<< >>", 0, 0),
    ("keywords:existence", {"keywords": ["rain", "sun"]}, "Rain and SUNshine", 1, 1),
    ("keywords:forbidden_words", {"forbidden_words": ["rain"]}, "It is raining", 1, 1),  # whole words only
    ("keywords:forbidden_words", {"forbidden_words": ["rain"]}, "Rain!", 0, 0),
    ("keywords:frequency", {"keyword": "la", "frequency": 2, "relation": "less than"}, "la la", 0, 0),
    ("keywords:letter_frequency", {"letter": "E", "let_frequency": 2, "let_relation": "at least"}, "eÉe", 1, 1),
    ("language:response_language", {"language": "de"}, "Das ist ein ganz gewöhnlicher deutscher Satz.", 1, 1),
    ("length_constraints:nth_paragraph_first_word", SECOND, "a\n\n*So*", 0, 1),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\ntwo", 1, 1),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n\ntwo", 0, 0),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "less than"}, "Dr. Ho met Mr. Li.", 1, 1),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "don't go", 1, 1),  # don, t, go
    ("punctuation:no_comma", {}, "Well, no", 0, 0),
    ("startend:end_checker", {"end_phrase": "The end."}, 'So "THE END."', 1, 1),
    ("startend:end_checker", {"end_phrase": "The end."}, "The end.\nBye!", 0, 1),
    ("startend:quotation", {}, '"quoted"', 1, 1),
    ("startend:quotation", {}, "“quoted”", 0, 0),
]  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SPEECHLLM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def _instructions(names, kwargs, prompt="p"):
    return Instructions(Row({"prompt": prompt, "instruction_id_list": names, "kwargs": kwargs}, "q:1"), load_checkers())


@pytest.mark.parametrize(("name", "kwargs", "response", "strict", "loose"), CASES)
def test_each_instruction(name, kwargs, response, strict, loose):
    asked = _instructions([name], [kwargs | {"num_words_of_another_row": None}])
    found = asked.strict(response)
    assert (found, asked.loose(response, found)) == ([bool(strict)], [bool(loose)])


def test_all_25_types_are_covered():
    assert {case[0] for case in CASES} == set(load_checkers())


def test_a_letter_that_google_draws_is_the_same_in_every_run():
    state = random.getstate()
    given = {"letter": "#", "let_frequency": 1, "let_relation": "at least"}
    asked = [_instructions(["keywords:letter_frequency"], [given]) for _ in range(9)]
    letters = "abcdefghijklmnopqrstuvwxyz"
    drawn = [[letter for letter in letters if each.strict(letter) == [True]] for each in asked]
    assert len(drawn[0]) == 1
    assert all(letter == drawn[0] for letter in drawn)
    assert random.getstate() == state  # and nobody else's draws are touched


def test_an_empty_response_follows_nothing():
    asked = _instructions(["punctuation:no_comma"], [{}])
    assert asked.strict(" \n") == asked.loose(" \n", [False]) == [False]


def test_the_eight_variants():
    assert variants("*a*\nb\nc") == ["*a*\nb\nc", "b\nc", "*a*\nb", "b", "a\nb\nc", "b\nc", "a\nb", "b"]


def test_metrics_at_both_levels(tmp_path):
    ids = ["punctuation:no_comma", "startend:quotation"]
    questions = [{"key": 1000 + k, "prompt": f"p{k}", "instruction_id_list": ids, "kwargs": [{}, {}]} for k in range(4)]
    answers = ['"fine"', 'Sure!\n"fine"', "no quotes"]
    for name, rows in {
        "q": questions,
        "r": [{"prompt": f"p{k}", "response": a} for k, a in enumerate(answers)],
    }.items():
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
    scored = IFEVAL.score(Inputs([tmp_path / "r"], [tmp_path / "q"]))
    assert scored.metrics["strict"] == {
        "prompt-level": 25.0,
        "instruction-level": 50.0,
        "punctuation": 75.0,
        "startend": 25.0,
        "punctuation:no_comma": 75.0,
        "startend:quotation": 25.0,
    }
    assert (scored.metrics["loose"]["prompt-level"], scored.metrics["loose"]["instruction-level"]) == (50.0, 62.5)
    assert [(v.id, v.verdict) for v in scored.verdicts] == [
        ("1000", "right"), ("1001", "wrong"), ("1002", "wrong"), ("1003", "missing")
    ]  # fmt: skip
    assert scored.verdicts[1].reason == "does not follow startend:quotation"


@pytest.mark.parametrize(
    ("names", "kwargs", "said"),
    [
        (["punctuation:no_commas"], [{}], "did you mean 'punctuation:no_comma'"),
        (["punctuation:no_comma"], [], "1 instructions and 0 kwargs"),
        # Google's checkers draw what is missing at random.
        (["punctuation:no_comma"], [{"\ufffd": 3}], "kwargs of punctuation:no_comma are not what it takes"),
        (["keywords:existence"], [{"keywords": 3}], "kwargs of keywords:existence are not what it takes"),
        (["punctuation:no_comma"], [None], "an object for each"),
        ([3], [{}], "should hold names"),
        (["length_constraints:number_words"], [{"relation": "at least", "num_words": None}], "lack num_words"),
    ],
)
def test_bad_questions_are_errors(names, kwargs, said):
    with pytest.raises(SpeechLLMError, match=f"q:1: .*{said}"):
        _instructions(names, kwargs)


def test_sentences_are_split_without_a_network(tmp_path):
    code = """
import socket
def refuse(*arguments): raise OSError("no network")
socket.socket.connect = refuse
from speechllm.eval.benchmarks.punkt import provide_english
provide_english()
import nltk
print(nltk.sent_tokenize("Dr. Ho met Mr. Li. They left."))
"""
    environment = {"SPEECHLLM_CACHE": str(tmp_path), "HOME": str(tmp_path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['Dr. Ho met Mr. Li.', 'They left.']"
    assert (tmp_path / "nltk_data/tokenizers/punkt_tab/english/abbrev_types.txt").is_file()


def test_a_long_reply_is_scored_whatever_time_nltk_allows(monkeypatch):
    redos = pytest.importorskip("nltk.redos")
    monkeypatch.setattr(redos, "DEFAULT_TIMEOUT", 1e-3)
    name = "length_constraints:number_sentences"
    row = Row({"instruction_id_list": [name], "kwargs": [{"num_sentences": 9, "relation": "at least"}]}, "here")
    assert Instructions(row, load_checkers()).strict("Yes, he said. " * 5000) == [True]
    assert redos.DEFAULT_TIMEOUT == 1e-3
