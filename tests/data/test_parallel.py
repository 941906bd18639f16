"""Kept, parallel work: in order, in other processes, done once, stopped early where too much is broken."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import speechllm
from speechllm.data.parallel import each_kept, kept_path
from speechllm.errors import SpeechLLMError


def pid_and_square(number):
    return [os.getpid(), number * number]


def broken_from(limit):
    def function(number):
        if number >= limit:
            raise SpeechLLMError(f"{number}.wav: is broken")
        return number

    return function


def run(function, items, out, processes=1):
    return each_kept(function, items, [str(item) for item in items], out, "Testing", processes)


def test_other_processes_do_the_work_and_results_come_in_order(tmp_path):
    results = run(pid_and_square, list(range(100)), tmp_path / "o", processes=2)
    assert [square for _, square in results] == [n * n for n in range(100)]
    assert os.getpid() not in {pid for pid, _ in results}


def sleep_with_its_pid(folder):
    (folder / str(os.getpid())).touch()
    time.sleep(60)


ENDLESS = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from test_parallel import sleep_with_its_pid
from speechllm.data.parallel import each_kept
if __name__ == "__main__":
    folder = Path({folder!r})
    each_kept(sleep_with_its_pid, [folder] * 40, [str(i) for i in range(40)], folder / "o", "Testing", 2)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them")
def test_a_killed_run_leaves_no_process_behind(tmp_path):
    script = tmp_path / "endless.py"
    script.write_text(
        ENDLESS.format(
            paths=[str(Path(__file__).parent), str(Path(speechllm.__file__).parents[1])], folder=str(tmp_path)
        )
    )
    parent = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    try:
        workers = waited(lambda: [int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()], lambda w: len(w) == 2)
    finally:
        parent.kill()
        parent.wait()
    waited(lambda: [pid for pid in workers if running(pid)], lambda alive: alive == [])


def running(pid):
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        )  # ended, nobody has looked yet
    except OSError:
        return False


def waited(look, enough, seconds=60):
    end = time.monotonic() + seconds
    while not enough(found := look()):
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return found


def test_what_is_kept_is_not_done_again_and_a_torn_line_is(tmp_path):
    out = tmp_path / "o"
    run(lambda n: n, [1, 2, 3], out)
    with kept_path(out).open("a") as file:
        file.write('["4", 4')
    done = []
    results = run(lambda n: done.append(n) or -n, [3, 4, 5, 1], out)
    assert results == [3, -4, -5, 1]
    assert done == [4, 5]
    assert run(broken_from(0), [1, 2, 3, 4, 5], out) == [1, 2, 3, -4, -5]


def test_results_are_on_disk_long_before_the_end(tmp_path):
    seen = []

    def function(number):
        kept = kept_path(tmp_path / "o")
        seen.append(len(kept.read_text().splitlines()))
        return number

    run(function, list(range(50)), tmp_path / "o")
    assert [seen[i] for i in (0, 16, 32, 48)] == [0, 16, 32, 48]


def test_one_broken_item_is_reported_and_two_of_a_hundred_end_the_run(tmp_path, capsys):
    items = list(range(100))
    assert run(broken_from(99), items, tmp_path / "a")[-2:] == [98, None]
    assert "skipped: 99.wav: is broken" in capsys.readouterr().err
    with pytest.raises(SpeechLLMError, match=r"more than 1% of the 100 utterances cannot be read, the first: 98.wav"):
        run(broken_from(98), items, tmp_path / "b")
    with pytest.raises(SpeechLLMError, match=r"the first: 5.wav"):
        run(broken_from(0), [5], tmp_path / "c")


def test_a_damaged_file_is_named(tmp_path):
    kept_path(tmp_path / "o").write_text("nonsense\n")
    with pytest.raises(SpeechLLMError, match=r"\.o\.partial:1: is damaged; delete"):
        run(abs, [1], tmp_path / "o")


def test_nothing_to_do_is_no_error(tmp_path):
    assert run(abs, [], tmp_path / "o") == []
