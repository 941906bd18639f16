import base64
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.audio.io import SAMPLING_RATE, save_audio
from speechllm.eval.report import Answer, Clip, wilson_interval, write_report
from speechllm.eval.table import duration, print_table

EVIL = "<script>alert(1)</script>\" onload='x' {{ 7 * 7 }} $x_1$ &amp; --> "
SECTIONS = ["What it hears", "How it learnt", "Listen", "What it was asked", "What it kept", "How long it took"]
VOID = {"meta", "br"}


class Page(HTMLParser):
    """What a browser makes of the page: tags with their attributes, and the text between them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.open: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        self.text = re.sub(r"\s+", " ", " ".join(self.pieces))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.pieces.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def results() -> dict:
    return {
        "accuracy": {
            "gender": {"model": 0.93, "ceiling": 0.98, "cascade": 0.5, "chance": 0.5, "n": 64},
            "speaking_rate": {"model": 0.79, "ceiling": 0.74, "cascade": 0.42, "chance": 0.5, "n": 64},
        },
        "mean_accuracy": {"model": 0.86, "ceiling": 0.9, "cascade": 0.46, "chance": 0.5},
        "wer": 0.1,
        "recogniser_wer": 0.08,
        "agreement": 0.85,
        "text_retention": {"max_abs_logit_difference": 0.0, "identical_replies": 16, "n": 16},
        "seconds": {"corpus": 12.3, "prompt_search": 200.0},
        "peak_memory_bytes": 3.1e9,
        "model": {"encoder": "whisper", "llm": "smollm", "adapter": "pooled", "trainable_parameters": 1843210},
        "machine": {"cores": 2, "cpu": "some", "torch": "2", "transformers": "5", "python": "3.11"},
        "data": {"train_utterances": 600, "train_hours": 0.51},
        "prompts": [
            {"kind": "gender", "text": "Male or female?", "style": "tags", "system": None, "score": 0.94, "n": 32}
        ],
        "command": "speechllm quickstart",
    }


def log() -> list[dict]:
    def line(stage: int, objective: str, step: int) -> dict:
        return {
            "stage": stage,
            "objective": objective,
            "step": step,
            "loss": 2.0 / (step + 1),
            "learning_rate": 1e-3,
            "examples_per_second": 40.0,
        }

    return [line(0, "embedding_alignment", s) for s in range(30)] + [line(1, "cross_entropy", s) for s in range(20)]


def tone(folder: Path) -> Path:
    t = np.arange(SAMPLING_RATE) / SAMPLING_RATE
    save_audio(folder / "tone.wav", 0.3 * np.sin(2 * np.pi * 220 * t))
    return folder / "tone.wav"


def clip(audio: Path) -> Clip:
    answers = [
        Answer("Male or female?", "It is male.", "The speaker is male.", True),
        Answer("Low or high?", "It is high.", "It is low.", False),
        Answer("What is said?", "good morning", "Good morning.", None),
    ]
    return Clip("test-0001", audio, "Good morning.", {"gender": "male", "speaking_rate": "slow"}, answers)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    folder = tmp_path_factory.mktemp("report")
    return Page(write_report(folder / "new" / "report.html", results(), log(), [clip(tone(folder))]))


def test_needs_nothing_but_itself(page):
    links = [value for _, a in page.tags for key, value in a.items() if key in {"src", "href", "xlink:href", "srcset"}]
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert all(link.startswith("#") for link in re.findall(r"url\(([^)]*)\)", page.source))
    assert not re.search(r"https?:|file:|@import", page.source)
    assert not page.all("script")
    assert not page.all("link")


def test_every_reference_within_a_figure_is_met_once(page):
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = re.findall(r"url\(#([^)]*)\)", page.source) + re.findall(r'href="#([^"]*)"', page.source)
    assert set(wanted) <= set(ids)


def test_figures_follow_the_page_and_are_told_in_words(page):
    figures = page.all("svg")
    assert len(figures) == 2 + 2 + 1
    assert all(figure["role"] == "img" and figure["aria-label"] for figure in figures)
    assert "model 93 %" in figures[0]["aria-label"].replace("\xa0", " ")
    assert "#01020" not in page.source
    assert "var(--model)" in page.source
    drawn = re.search(r"<svg.*</svg>", page.source, re.DOTALL)[0]
    assert not re.search(r"font-family|DejaVu|<style|<metadata", drawn)


def test_shows_everything_in_order(page):
    text = page.text.replace("\xa0", " ")
    places = [text.index(heading) for heading in [*SECTIONS, "What was run"]]
    assert places == sorted(places)
    assert text.index("96 %") < text.index("+36") < text.index("16/16") < text.index("10.0 %") < places[0]
    for said in (
        "95 % Wilson interval",
        "n = 64",
        "3 min 20 s",
        "3.1 GB",
        "1,843,210",
        "0.51 h",
        "speechllm quickstart",
    ):
        assert said in text
    assert "the same reply as the untouched LLM every time, down to the last bit" in text


def test_right_and_wrong_are_signs_and_words_too(page):
    answers = page.text.split("Good morning.")[1] + page.text.split("Low or high?")[1]
    assert "✓ right" in answers
    assert "✗ wrong" in answers
    assert [a["class"] for a in page.all("span") if "mark" in (a.get("class") or "")][2:] == [
        "mark right",
        "mark wrong",
    ]


def test_audio_plays_from_the_page(page):
    (audio,) = page.all("audio")
    head, data = audio["src"].split(",")
    assert head == "data:audio/flac;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
    assert rate == SAMPLING_RATE
    expected = 0.3 * np.sin(2 * np.pi * 220 * np.arange(SAMPLING_RATE) / SAMPLING_RATE)
    np.testing.assert_allclose(samples, expected, atol=2 / 32768)


def test_long_audio_is_cut_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("speechllm.eval.report.LONGEST_CLIP_S", 0.5)
    found = Page(write_report(tmp_path / "r.html", {}, [], [clip(tone(tmp_path))]))
    samples, _ = soundfile.read(io.BytesIO(base64.b64decode(found.all("audio")[0]["src"].split(",")[1])))
    assert len(samples) == SAMPLING_RATE // 2
    assert "first 0.5 s" in found.text


def poisoned(value):
    """The same structure with every string, and every key that is a name, turned into an attack."""
    if isinstance(value, dict):
        return {key: poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return value + EVIL if isinstance(value, str) else value


def test_every_text_is_escaped(tmp_path):
    values = poisoned(results())
    for group in ("accuracy", "seconds", "model"):
        values[group] = {key + EVIL: value for key, value in values[group].items()}
    lines = [{**entry, "objective": "own" + EVIL} for entry in log()]
    bad = Clip(EVIL, tone(tmp_path), EVIL, {EVIL: EVIL}, [Answer(EVIL, EVIL, EVIL, True)])
    found = Page(write_report(tmp_path / "r.html", values, lines, [bad], title=EVIL))
    assert not found.all("script")
    assert not [key for _, attributes in found.tags for key in attributes if key.startswith("on")]
    assert "{{ 7 * 7 }}" in found.text
    heading = EVIL.replace("_", " ").strip()
    assert found.text.count("<script>alert(1)</script>") >= 20
    assert any(heading in (figure["aria-label"] or "") for figure in found.all("svg"))
    assert found.open == []


def test_a_run_that_measured_nothing_has_a_page(tmp_path):
    found = Page(write_report(tmp_path / "r.html", {}, [], [], title="Nothing yet"))
    assert not found.all("section")
    assert "Nothing yet" in found.text


@pytest.mark.parametrize(
    ("missing", "gone"),
    [
        (["accuracy", "mean_accuracy"], SECTIONS[0]),
        (["prompts"], SECTIONS[3]),
        (["text_retention"], SECTIONS[4]),
        (["seconds"], SECTIONS[5]),
        (["model", "machine", "data", "command"], "What was run"),
    ],
)
def test_what_is_missing_is_left_out(tmp_path, missing, gone):
    values = {key: None if key == missing[-1] else value for key, value in results().items() if key not in missing[:-1]}
    found = Page(write_report(tmp_path / "r.html", values, [], []))
    present = [heading for heading in [*SECTIONS, "What was run"] if heading in found.text]
    expected = [heading for heading in [*SECTIONS, "What was run"] if heading not in {SECTIONS[1], SECTIONS[2], gone}]
    assert present == expected


def test_a_clip_without_its_file_keeps_its_words(tmp_path):
    found = Page(write_report(tmp_path / "r.html", {}, [], [clip(tmp_path / "gone.wav")]))
    assert not found.all("audio")
    assert "could not be read" in found.text
    assert "It is male." in found.text
    assert str(tmp_path) not in found.source


def without_numbers(value):
    if isinstance(value, dict):
        return {key: without_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_numbers(item) for item in value]
    return math.nan if isinstance(value, int | float) else value


def test_no_number_is_ever_nan(tmp_path):
    lines = without_numbers(log()) + log() + [{"stage": 1, "objective": "cross_entropy", "step": 20, "loss": math.inf}]
    values = without_numbers(results())
    values["accuracy"]["gender"] = {"model": 0.9, "ceiling": math.nan, "cascade": None, "chance": math.inf, "n": 0}
    found = Page(write_report(tmp_path / "r.html", values, lines, []))
    assert len(found.all("svg")) == 3
    assert not re.search(r"\b(nan|NaN|inf|None)\b", found.source)


def test_a_step_taken_twice_counts_once(tmp_path):
    again = log()[:30] + [{**entry, "loss": 5.0} for entry in log()[:30]]
    found = Page(write_report(tmp_path / "r.html", {}, again, []))
    assert "30 steps; loss 5 at first, 5 at last" in found.text


def test_a_loss_that_is_zero_is_no_reason_to_stop(tmp_path):
    lines = [{**entry, "loss": 0.0} for entry in log()]
    assert len(Page(write_report(tmp_path / "r.html", {}, lines, [])).all("svg")) == 2


def test_a_page_that_fails_leaves_the_older_one(tmp_path):
    (tmp_path / "r.html").write_text("old")
    with pytest.raises(AttributeError):
        write_report(tmp_path / "r.html", {}, [], [object()])
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]
    assert (tmp_path / "r.html").read_text() == "old"


def test_changed_replies_are_admitted(tmp_path):
    values = {"text_retention": {"max_abs_logit_difference": 0.25, "identical_replies": 13, "n": 16}}
    text = Page(write_report(tmp_path / "r.html", values, [], [])).text
    assert "the untouched LLM 13 times, and its logits moved by up to 0.25." in text
    assert "every time" not in text


def test_wilson_interval():
    assert wilson_interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson_interval(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson_interval(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


@pytest.mark.parametrize(
    ("seconds", "said"), [(3.21, "3.2 s"), (9.97, "10 s"), (59.7, "1 min"), (200, "3 min 20 s"), (7322, "2 h 2 min")]
)
def test_duration(seconds, said):
    assert duration(seconds).replace("\xa0", " ") == said


def test_table(capsys):
    values = results()
    values["accuracy"]["[red]accent"] = {"model": 0.25, "ceiling": math.nan, "n": 8}
    print_table(values)
    shown = capsys.readouterr()
    lines = [re.sub(r"[│┃\s]+", " ", line).strip() for line in shown.out.splitlines()]
    assert "attribute model ceiling cascade chance n" in lines
    assert "gender 93 % 98 % 50 % 50 % 64" in lines
    assert "[red]accent 25 % – – – 8" in lines
    assert "mean 86 % 90 % 46 % 50 %" in lines
    assert "word error rate 10.0 % (the recogniser alone: 8.0 %)" in lines
    assert "text retention 16 of 16 text replies identical, largest logit difference 0" in lines
    assert "time 3 min 32 s" in lines
    assert "peak memory 3.1 GB" in lines
    assert shown.err == ""


def test_table_of_nothing(capsys):
    print_table(without_numbers({**results(), "accuracy": None, "mean_accuracy": None}))
    assert capsys.readouterr().out == ""
