"""The shared reader: three layouts, and every kind of damage reported with its line."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.responses import by_id, read_rows

ROWS = [{"id": "a", "response": "yes"}, {"id": "b", "response": "nö"}]


def _file(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.jsonl", "\n".join(json.dumps(row) for row in ROWS) + "\n\n"),
        ("r.json", "\n".join(json.dumps(row) for row in ROWS)),
        ("r.json", json.dumps(ROWS)),
        ("r.json", json.dumps(ROWS, indent=4, ensure_ascii=False)),
        ("r.json", json.dumps({row["id"]: row for row in ROWS}, indent=2)),
        ("r.json", json.dumps({row["id"]: row for row in ROWS})),
        ("r.json", json.dumps({row["id"]: row["response"] for row in ROWS}, indent=2)),
        ("r.jsonl", "\ufeff" + "\r\n".join(json.dumps(row) for row in ROWS)),
    ],
)
def test_all_layouts_give_the_same_rows(tmp_path, name, content):
    found = by_id(read_rows(_file(tmp_path, name, content)), ("id",))
    assert {key: row.text("response") for key, row in found.items()} == {"a": "yes", "b": "nö"}


def test_rows_know_their_line(tmp_path):
    path = _file(tmp_path, "r.json", json.dumps(ROWS, indent=1))
    assert [row.where for row in read_rows(path)] == [f"{path}:2", f"{path}:6"]


def test_rows_inside_an_object(tmp_path):
    whole = {"model": "m", "results": {"a": {"response": "yes"}, "b": {"response": "no"}}}
    path = _file(tmp_path, "r.json", json.dumps(whole, indent=1))
    rows = read_rows(path, inside="results")
    assert [(row.key, row.where, dict(row.header)) for row in rows] == [
        ("a", f"{path}:4", {"model": "m"}),
        ("b", f"{path}:7", {"model": "m"}),
    ]
    path = _file(tmp_path, "r.json", json.dumps(whole))  # all in one line
    assert [(row.key, dict(row.header)) for row in read_rows(path, inside="results")] == [
        ("a", {"model": "m"}),
        ("b", {"model": "m"}),
    ]
    path = _file(tmp_path, "r.json", json.dumps(whole["results"], indent=1))
    assert [row.key for row in read_rows(path, inside="results")] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("r.jsonl", '{"id": 1}\n{"id": 2, "resp', r"r\.jsonl:2: is not JSON .*truncated"),
        ("r.jsonl", '{"id": 1\n{"id": 2}\n', r"r\.jsonl:1: is not JSON"),
        ("r.jsonl", '{"id": 1}\n[2]\n', r"r\.jsonl:2: is list, not a JSON object"),
        ("r.json", '[\n{"id": 1},\n{"id": 2', r"r\.json:3: is not JSON"),
        ("r.json", '[\n{"id": 1}\n{"id": 2}]', r"r\.json:3: is not JSON \(Expecting ','"),
        ("r.json", '[{"id": 1}]\n[]', r"r\.json:2: is not JSON \(Extra data"),
        ("r.json", '{\n"a": {},\n"b": 3}', r"r\.json:3: is int"),
        ("r.jsonl", b'{"id": 1}\n{"id": "caf\xe9"}\n', r"r\.jsonl:2: byte 0xe9 is not UTF-8"),
        ("r.jsonl", "\n \n", r"r\.jsonl: is empty"),
        ("r.json", "[]", r"r\.json: holds no responses"),
        ("r.json", "{}", r"r\.json: holds no responses"),
        ("r.jsonl", '{"id": 1}\n' + '{"a":' * 3000, r"r\.jsonl:2: is nested too deep"),
        ("r.json", "[\n" * 3000, r"r\.json:\d: is nested too deep"),
    ],
)
def test_damage_is_reported_with_its_line(tmp_path, name, content, said):
    with pytest.raises(SpeechLLMError, match=said):
        read_rows(_file(tmp_path, name, content))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("r.jsonl", '{"id": 1}\n{"id": 2}\n{"id": 1}\n', r"r\.jsonl:3: the id '1' stands at .*r\.jsonl:1 already"),
        ("r.json", '{\n"a": {},\n"a": {}}', r"r\.json:3: the id 'a' stands at .*r\.json:2 already"),
        ("r.jsonl", '{"id": 1}\n{"response": "x"}\n', r"r\.jsonl:2: has no id"),
        ("r.jsonl", '{"id": 1}\n' * 9, r"and 3 more"),
    ],
)
def test_ids_are_there_and_differ(tmp_path, name, content, said):
    with pytest.raises(SpeechLLMError, match=said):
        by_id(read_rows(_file(tmp_path, name, content)), ("id",))


def test_a_response_is_text_or_missing(tmp_path):
    content = '{"id": 1, "response": null}\n{"id": 2, "response": 7}\n{"id": 3, "response": ["x"]}\n'
    none, number, wrong = read_rows(_file(tmp_path, "r.jsonl", content))
    assert none.text("response") is None
    assert number.text("response") == "7"
    with pytest.raises(SpeechLLMError, match=r"r\.jsonl:3: response is list, not text"):
        wrong.text("response")


def test_half_a_pair_of_escapes_is_no_character(tmp_path):
    (row,) = read_rows(_file(tmp_path, "r.jsonl", '{"response": "so \\ud83d \\ud83d\\ude00"}'))
    assert row.text("response") == "so \ufffd \U0001f600"


@pytest.mark.parametrize("name", ["r.jsonl", "r.json"])
@pytest.mark.parametrize("indent", [None, 1])
def test_half_a_pair_of_escapes_is_no_character_in_keys_either(tmp_path, name, indent):
    value = {"a\ud800": {"\udfff": ["\ud83d", "\U0001f600"]}, "response": "so\udc00"}
    whole = {"a\ufffd": {"\ufffd": ["\ufffd", "\U0001f600"]}, "response": "so\ufffd"}
    if name == "r.json":
        path = _file(tmp_path, name, json.dumps({"k\ud800": value, "m": {"response": "fine"}}, indent=indent))
    else:
        path = _file(tmp_path, name, json.dumps(value) + '\n{"response": "fine"}')
    first, second = read_rows(path)
    assert first.data == whole
    assert first.key == ("k\ufffd" if name == "r.json" else None)
    assert second.data == {"response": "fine"}


def test_keys_that_differ_in_halves_of_characters_alone_are_one_id_twice(tmp_path):
    path = _file(tmp_path, "r.json", '{"\\ud800": {"response": "x"},\n"\\ud801": {"response": "y"}}')
    with pytest.raises(SpeechLLMError, match=r"r\.json:2: the id '\ufffd' stands at .*r\.json:1 already"):
        by_id(read_rows(path), ("id",))


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
RESPONSES = st.dictionaries(TEXTS.filter(str.strip), TEXTS, min_size=1, max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(responses=RESPONSES, indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_any_text_survives_every_layout(tmp_path, responses, indent, ascii_only):
    rows = [{"id": key, "response": text} for key, text in responses.items()]
    lines = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    layouts = {
        "lines.jsonl": lines,
        "list.json": json.dumps(rows, indent=indent, ensure_ascii=ascii_only),
        "keyed.json": json.dumps({row["id"]: row for row in rows}, indent=indent, ensure_ascii=ascii_only),
    }
    for name, content in layouts.items():
        found = by_id(read_rows(_file(tmp_path, name, content)), ("id",))
        assert {key: row.text("response") for key, row in found.items()} == responses
