"""Statistics of manifests: sums, quantiles and counts that were worked out by hand, and the figure's panels."""

import io
import json

import pytest
from PIL import Image
from rich.console import Console

from speechllm.cli import main
from speechllm.data.manifest import Utterance
from speechllm.data.statistics import draw, statistics
from speechllm.errors import SpeechLLMError


def utterance(i, **values):
    return Utterance(id=str(i), audio=f"{i}.wav", duration=i, sampling_rate=16000, **values)


@pytest.fixture
def stats():
    people = [
        utterance(i, speaker=f"s{i % 2}", language="en", text="yes" if i < 3 else None, attributes={"snr_db": 10 * i})
        for i in range(1, 5)
    ]
    others = [utterance(5, speaker="s0", dataset="other", attributes={"gender": "female", "language": "English"})]
    return statistics(iter(people + others))


def test_sums(stats):
    assert (stats.utterances, stats.seconds, stats.with_text, len(stats.speakers)) == (5, 15, 2, 3)
    assert stats.words == {
        "language": {"en": 4},
        "dataset": {"other": 1},
        "gender": {"female": 1},
        "attributes.language": {"English": 1},
    }
    assert stats.quantiles("duration") == pytest.approx([1, 1.2, 3, 4.8, 5])
    assert stats.quantiles("snr_db")[2] == 25


def test_the_table_names_the_most_frequent_words_and_counts_the_rest():
    lines = [utterance(i, language=f"l{min(i, 10)}") for i in range(1, 15)]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(statistics(lines).table("t"))
    [row] = [line for line in console.export_text().splitlines() if "language" in line]
    assert "│ 14 " in row
    assert "l10 5, l1 1, l2 1," in row
    assert row.rstrip(" │").endswith("l7 1, and 2 more")


@pytest.mark.parametrize("name", ["f.png", "f.svg", "f.pdf"])
def test_the_figure_is_drawn_in_the_format_of_its_name(name, stats, tmp_path):
    draw(stats, tmp_path / "new" / name, "title")
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[name[2:]]
    assert (tmp_path / "new" / name).read_bytes().startswith(start)


def test_another_ending_is_refused(stats, tmp_path):
    with pytest.raises(SpeechLLMError, match=r"f.doc: no figure format ends so; use .png"):
        draw(stats, tmp_path / "f.doc", "title")


def test_one_utterance_and_one_value_can_be_drawn(tmp_path):
    draw(statistics([utterance(1)]), tmp_path / "f.png", "title")
    with Image.open(tmp_path / "f.png") as image:
        assert len(image.convert("RGB").getcolors(1 << 20)) > 2


def test_the_command_prints_the_table(tmp_path, capsys):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"id": "a", "audio": "a.wav", "duration": 1800.0, "sampling_rate": 16000}) + "\n")
    assert main(["manifest", "stats", str(path), "--figure", str(tmp_path / "f.png")]) == 0
    assert "0.50 hours" in capsys.readouterr().out
    assert (tmp_path / "f.png").is_file()
    path.write_text("\n")
    assert main(["manifest", "stats", str(path)]) == 2
    assert "holds no utterances" in capsys.readouterr().err
