import numpy as np
import pytest

from speechllm.audio.io import save_audio
from speechllm.data.manifest import Utterance
from speechllm.data.readable import readable
from speechllm.errors import SpeechLLMError


def utterances(folder, good, bad, **changes):
    save_audio(folder / "good.wav", np.ones(1600, np.float32) / 2)
    (folder / "bad.wav").write_text("This is not sound.\n" * 99)
    files = ["good.wav"] * good + ["bad.wav"] * bad
    values = {"duration": 0.1, "sampling_rate": 16_000} | changes
    return [Utterance(id=f"{name}{k}", audio=str(folder / name), **values) for k, name in enumerate(files)]


def test_broken_files_within_the_limit_are_named_and_left_out(tmp_path, capsys):
    kept = readable(utterances(tmp_path, 198, 2), 0.01)
    assert len(kept) == 198
    assert all(utterance.audio.endswith("good.wav") for utterance in kept)
    said = capsys.readouterr()
    assert (said.out + said.err).count("bad.wav: is not audio") == 2


def test_one_broken_file_never_ends_a_run_unless_none_is_allowed(tmp_path):
    assert len(readable(utterances(tmp_path, 3, 1))) == 3
    with pytest.raises(SpeechLLMError, match=r"1 of 4 utterances cannot be read, more than the 0 .*bad\.wav"):
        readable(utterances(tmp_path, 3, 1), 0.0)


def test_more_than_the_limit_or_all_end_the_run(tmp_path):
    with pytest.raises(SpeechLLMError, match=r"3 of 200 utterances .* more than the 0\.01 .*bad\.wav"):
        readable(utterances(tmp_path, 197, 3), 0.01)
    with pytest.raises(SpeechLLMError, match="1 of 1"):
        readable(utterances(tmp_path, 0, 1), 1.0)


def test_a_segment_after_the_end_and_a_missing_file_are_broken(tmp_path):
    mixed = [*utterances(tmp_path, 1, 0), *utterances(tmp_path, 1, 0, start=5.0)]
    assert readable(mixed) == mixed[:1]
    gone = mixed[0].model_copy(update={"audio": str(tmp_path / "gone.wav")})
    assert readable([mixed[0], gone]) == mixed[:1]
