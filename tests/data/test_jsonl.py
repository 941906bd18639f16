"""JSON Lines are parted at line breaks, whatever else in a string a screen might break at."""

import json

from speechllm.data.jsonl import text_lines
from speechllm.train.log import cut_log
from speechllm.train.state import Position

BREAKS = "one\u2028two\u0085three\x0bfour"


def test_lines_are_parted_at_line_breaks_alone(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + f"{BREAKS}\nfive\r\nsix".encode())
    assert text_lines(path) == [BREAKS, "five", "six"]


def test_a_log_with_such_a_sample_is_cut_where_the_run_goes_on(tmp_path):
    entries = [{"stage": 0, "step": step, "samples": [{"reply": BREAKS}]} for step in range(3)]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(e, ensure_ascii=False) + "\n" for e in entries) + '{"stage": 0, "st', "utf-8")
    cut_log(path, Position(0, 2))
    assert [json.loads(line) for line in text_lines(path)] == entries[:2]
