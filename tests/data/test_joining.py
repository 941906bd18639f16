"""Joined utterances: every sample and every fact is where it was put."""

import numpy as np
import pytest

from speechllm.data.joining import join
from speechllm.data.manifest import Segment, Utterance

RATE = 16_000


def part(name, seconds, value, speaker="s", text=None, segments=None, **attributes):
    line = Utterance(
        id=name,
        audio=f"{name}.wav",
        duration=seconds,
        sampling_rate=RATE,
        text=text or f"{name} text",
        speaker=speaker,
        language="en",
        attributes=attributes,
        segments=segments,
    )
    return np.full(round(seconds * RATE), value, np.float32), line


def joined(parts, gaps):
    return join([wave for wave, _ in parts], [line for _, line in parts], gaps)


def test_one_after_another_with_gaps():
    wave, line = joined([part("a", 1.0, 0.1), part("b", 0.5, 0.2), part("c", 0.25, 0.3)], [0.5, 0.0])
    expected = np.repeat([0.1, 0.0, 0.2, 0.3], [16_000, 8_000, 8_000, 4_000]).astype(np.float32)
    assert np.array_equal(wave, expected)
    assert (line.id, line.text, line.duration) == ("a+b+c", "a text b text c text", 2.25)
    assert [(s.start, s.end, s.text) for s in line.segments] == [
        (0.0, 1.0, "a text"),
        (1.5, 2.0, "b text"),
        (2.0, 2.25, "c text"),
    ]


def test_overlapping_speakers_are_added():
    wave, line = joined([part("a", 1.0, 0.1, "x"), part("b", 1.0, 0.2, "y")], [-0.25])
    assert wave[[0, 11_999, 12_000, 15_999, 16_000, -1]] == pytest.approx([0.1, 0.1, 0.3, 0.3, 0.2, 0.2])
    assert [(s.start, s.end, s.speaker) for s in line.segments] == [(0.0, 1.0, "x"), (0.75, 1.75, "y")]
    assert line.speaker is None


def test_nobody_begins_before_the_one_before():
    wave, line = joined([part("a", 0.5, 0.1), part("b", 2.0, 0.2), part("c", 0.5, 0.1)], [-9.0, -9.0])
    assert [s.start for s in line.segments] == [0.0, 0.0, 0.0]
    assert len(wave) == 2 * RATE


def test_what_all_share_is_said_of_the_whole_and_the_rest_of_its_part():
    parts = [part("a", 1.0, 0.1, gender="male", emotion="sad"), part("b", 1.0, 0.1, gender="male", emotion="happy")]
    _, line = joined(parts, [0.0])
    assert (line.attributes, line.speaker, line.language) == ({"gender": "male"}, "s", "en")
    assert [s.attributes["emotion"] for s in line.segments] == ["sad", "happy"]


def test_segments_of_a_part_move_with_it():
    inner = [Segment(start=0.0, end=0.4, text="x"), Segment(start=0.4, end=1.0, text="y")]
    _, line = joined([part("a", 1.0, 0.1), part("b", 1.0, 0.2, segments=inner)], [0.5])
    assert [(s.start, s.end, s.text) for s in line.segments] == [
        (0.0, 1.0, "a text"),
        (1.5, 1.9, "x"),
        (1.9, 2.5, "y"),
    ]
    assert Utterance.model_validate_json(line.model_dump_json()) == line


def test_attributes_that_only_the_first_lacks_are_not_shared():
    _, line = joined([part("a", 1.0, 0.1, emotion="sad"), part("b", 1.0, 0.1)], [0.0])
    assert line.attributes == {}
