"""The OpenAI backend against a server of somebody else's: `transformers serve`, in a process of its own."""

import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from speechllm.data.render import ask
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import Sampling
from speechllm.targets.generation import load_text_llm

pytest.importorskip("openai")
pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

from speechllm.models.served import ServedReplier

# The guard that `import speechllm` puts round torchaudio lets transformers start where its compiled part cannot load.
SERVE = "import sys, speechllm; from transformers.cli.transformers import main; sys.argv[0] = 'transformers'; main()"


@pytest.fixture(scope="module")
def url(llm_reference):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVE, "serve", llm_reference, "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen([*command, "--device", "cpu"], stderr=subprocess.PIPE, text=True)
    try:
        _wait_until_up(process, f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_up(process, url):
    for _ in range(600):
        assert process.poll() is None, process.stderr.read()[-2000:]
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server did not come up")


def test_replies_are_those_of_the_same_llm_in_this_process(url, llm_reference):
    questions = [ask(f"Is the speaker {word}?", system="Listen.") for word in ("male", "female", "slow", "fast")]
    sampling = Sampling(max_new_tokens=12)  # the server calls a reply that ends at the very limit cut short
    served = ServedReplier(url, llm_reference, concurrency=2)(questions, sampling)
    here = load_text_llm(llm_reference, "cpu", "float32").reply(questions, sampling)
    assert [r.text for r in served] == [r.text for r in here]
    assert [r.finish_reason for r in served] == [r.finish_reason for r in here]


def test_a_model_that_the_server_does_not_have_is_one_line(url):
    with pytest.raises(SpeechLLMError, match="the server refuses") as caught:
        ServedReplier(url, "no/such-model", retries=0)([ask("hi")], Sampling(4))
    assert "\n" not in str(caught.value)
