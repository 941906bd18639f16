"""Audio packed into tar files is what it was, wherever they are stored."""

import fsspec
import numpy as np
import pytest

from speechllm import cli
from speechllm.audio.io import audio_info, load_audio, save_audio
from speechllm.audio.stored import Member, member
from speechllm.data import shards
from speechllm.data.manifest import Utterance, read_manifest, write_manifest
from speechllm.data.shards import write_shards
from speechllm.errors import SpeechLLMError
from speechllm.testing.corpus import tone


@pytest.fixture
def corpus(tmp_path):
    """Clips in several formats, of which one file holds two segments."""
    folder, utterances = tmp_path / "corpus", []
    for i, ending in enumerate(["wav", "flac", "ogg", "mp3", "wav"]):
        save_audio(folder / "audio" / f"{i}.{ending}", tone(0.5 + 0.1 * i, seed=i))
        utterances.append(
            Utterance(id=f"clip-{i}", audio=f"audio/{i}.{ending}", duration=0.5 + 0.1 * i, sampling_rate=16000)
        )
    for start in (0.1, 0.3):
        part = {"id": f"part-{start}", "duration": 0.2, "start": start, "end": start + 0.2}
        utterances.append(utterances[-1].model_copy(update=part))
    write_manifest(folder / "train.jsonl", utterances)
    return folder / "train.jsonl"


def sounds(manifest):
    return {u.id: load_audio(u.audio, start=u.start, end=u.end) for u in read_manifest(manifest)}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, samples in one.items():
        np.testing.assert_array_equal(samples, other[name])


def test_every_clip_sounds_the_same(corpus, tmp_path):
    done = write_shards(corpus, tmp_path / "out", 20_000)
    assert len(done.shards) > 2
    assert all(shard.stat().st_size < 60_000 for shard in done.shards)
    assert_same(sounds(done.manifest), sounds(corpus))
    told, before = read_manifest(done.manifest), read_manifest(corpus)
    assert [u.model_copy(update={"audio": ""}) for u in told] == [u.model_copy(update={"audio": ""}) for u in before]
    assert told[-1].audio == told[-2].audio  # what segments share lies there once
    assert [audio_info(u.audio) for u in told] == [audio_info(u.audio) for u in before]


def test_a_container_is_read_from_a_shard(tmp_path):
    av = pytest.importorskip("av")
    file = tmp_path / "a.m4a"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(0.5)[None], format="fltp", layout="mono")
        frame.rate = 16000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    write_manifest(tmp_path / "m.jsonl", [Utterance(id="a", audio="a.m4a", duration=0.5, sampling_rate=16000)])
    done = write_shards(tmp_path / "m.jsonl", tmp_path / "out", 10**6)
    np.testing.assert_array_equal(sounds(done.manifest)["a"], load_audio(file))


def test_shards_of_shards(corpus, tmp_path):
    once = write_shards(corpus, tmp_path / "once", 20_000)
    again = write_shards(once.manifest, tmp_path / "again", 10**6)
    assert len(again.shards) == 1
    assert_same(sounds(again.manifest), sounds(corpus))


def test_interrupted_it_goes_on_and_writes_the_same_bytes(corpus, tmp_path, monkeypatch):
    whole = write_shards(corpus, tmp_path / "whole", 20_000)
    write, written = shards._write, []

    def interrupted(shard, *rest):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(shard.name)
        write(shard, *rest)

    monkeypatch.setattr(shards, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_shards(corpus, tmp_path / "broken", 20_000)
    assert not (tmp_path / "broken" / "train.jsonl").exists()
    times = {name: (tmp_path / "broken" / name).stat().st_mtime_ns for name in written}
    monkeypatch.setattr(shards, "_write", write)
    done = write_shards(corpus, tmp_path / "broken", 20_000)
    assert {name: (tmp_path / "broken" / name).stat().st_mtime_ns for name in written} == times
    for one, other in zip([*done.shards, done.manifest], [*whole.shards, whole.manifest], strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_from_an_address(corpus, tmp_path):
    done = write_shards(corpus, tmp_path / "out", 20_000, address="memory://bucket/speech/")
    storage = fsspec.filesystem("memory")
    for shard in done.shards:
        storage.pipe_file(f"/bucket/speech/{shard.name}", shard.read_bytes())
        shard.unlink()
    try:
        assert read_manifest(done.manifest)[0].audio.startswith("memory://bucket/speech/train-00000.tar#00000000.wav:")
        assert_same(sounds(done.manifest), sounds(corpus))
        cli.main(
            ["manifest", "filter", str(done.manifest), str(tmp_path / "sub" / "few.jsonl"), "--where", "duration>0.65"]
        )
        assert len(sounds(tmp_path / "sub" / "few.jsonl")) == 3
    finally:
        storage.rm("/bucket", recursive=True)


def test_what_is_wrong_with_a_shard_is_told(corpus, tmp_path, capsys):
    done = write_shards(corpus, tmp_path / "out", 10**6)
    assert cli.main(["manifest", "validate", str(done.manifest)]) == 0
    shard = done.shards[0]
    shard.write_bytes(shard.read_bytes()[:20_000])
    assert cli.main(["manifest", "validate", str(done.manifest)]) == 2
    said = capsys.readouterr().out
    assert f"{done.manifest}:2: " in said
    assert "train-00000.tar is cut short" in said
    shard.unlink()
    with pytest.raises(SpeechLLMError, match=r"train-00000.tar cannot be read \(No such file or directory\)"):
        load_audio(read_manifest(done.manifest)[0].audio)


def test_a_broken_clip_is_left_out(corpus, tmp_path, capsys):
    (corpus.parent / "audio" / "1.flac").write_bytes(b"nothing")
    done = write_shards(corpus, tmp_path / "out", 10**6)
    assert done.utterances == 6
    assert "1.flac" in capsys.readouterr().err
    assert "clip-1" not in sounds(done.manifest)


def test_a_file_of_that_name_is_no_member():
    assert member("a/b.wav") is None
    assert member("a.tar#b") is None
    assert member("x/a.tar#b.wav:512:10") == Member("x/a.tar", "b.wav", 512, 10)


def test_by_command(corpus, tmp_path, capsys):
    assert cli.main(["manifest", "shard", str(corpus), str(tmp_path / "out"), "--shard-mb", "1"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/out/train.jsonl: 7 utterances in 1 shards\n"
    assert cli.main(["manifest", "shard", str(corpus), str(tmp_path / "out"), "--shard-mb", "0"]) == 2
