"""A corpus of 100,000 lines is read and laid out in a gigabyte of memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

LINES = 100_000

FIRST_BATCH = """
import json, re, sys
from pathlib import Path
from speechllm.data.manifest import read_manifest
from speechllm.train.order import BatchOrder, one_source

utterances = read_manifest(Path(sys.argv[1]))
lengths = [utterance.duration for utterance in utterances]
seconds = [lengths[i] for i in BatchOrder(one_source(len(lengths), 0), lengths, 16, seed=0)[0]]
# Not getrusage: its peak begins with what the test process held when it started this one.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
print(json.dumps({"utterances": len(utterances), "seconds": seconds, "peak_bytes": peak * 1024}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_a_hundred_thousand_lines_are_laid_out_in_a_gigabyte(tmp_path):
    manifest = tmp_path / "large.jsonl"
    with manifest.open("w", encoding="utf-8") as out:
        for k in range(LINES):
            attributes = {"gender": "female", "pitch": "low", "snr_db": 15.5}
            line = {"id": f"u{k}", "audio": f"clips/{k}.flac", "duration": 1 + k % 290 / 10, "sampling_rate": 16_000}
            out.write(json.dumps(line | {"text": "Twelve words. " * 6, "attributes": attributes}) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", FIRST_BATCH, str(manifest)], capture_output=True, text=True, check=True, timeout=120
    )
    found = json.loads(done.stdout)
    assert found["utterances"] == LINES
    assert found["peak_bytes"] < 1 << 30
    assert len(found["seconds"]) == 16
    assert max(found["seconds"]) - min(found["seconds"]) < 2  # bucketed
