"""The OpenAI backend against a real server process's socket: order, back-off, and what a bad server answers."""

import base64
import io
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import soundfile

from speechllm.cli import main
from speechllm.data.render import ask
from speechllm.errors import SpeechLLMError
from speechllm.eval.asking import SYSTEMS
from speechllm.eval.comparison_report import write_comparison
from speechllm.models.reply import Reply, Sampling
from speechllm.testing.corpus import tone

openai = pytest.importorskip("openai")

from speechllm.models.served import ServedReplier  # noqa: E402


class Handler(BaseHTTPRequestHandler):
    """Answers with the question in upper case; `server.trouble` is a list of answers to give first."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.under_way += 1
            self.server.most = max(self.server.most, self.server.under_way)
            self.server.seen.append(request)
            trouble = self.server.trouble.pop(0) if self.server.trouble else None
        time.sleep(0.01)
        with self.server.lock:
            self.server.under_way -= 1
        words = request["messages"][-1]["content"]
        if not isinstance(words, str):
            wav = base64.b64decode(words[0]["input_audio"]["data"])
            words = f"{soundfile.info(io.BytesIO(wav)).duration:.1f} s, {words[1]['text']}"
        choice = {"index": 0, "message": {"role": "assistant", "content": words.upper()}, "finish_reason": "stop"}
        if "cut" in words:
            choice["finish_reason"] = "length"
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        status, text = trouble or (200, json.dumps(body))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if status == 429:
            self.send_header("Retry-After-Ms", "20")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments):
        """Silence."""


@pytest.fixture
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.lock, made.seen, made.trouble, made.under_way, made.most = threading.Lock(), [], [], 0, 0
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    made.url = f"http://127.0.0.1:{made.server_port}/v1"
    yield made
    made.shutdown()
    made.server_close()


def test_replies_come_in_order_with_bounded_concurrency(server):
    questions = [ask(f"question {k}", system="Listen.") for k in range(20)] + [ask("cut")]
    replies = ServedReplier(server.url, "m", concurrency=3)(questions, Sampling(7, 0.5, 0.9, seed=2))
    assert replies == [Reply(f"QUESTION {k}", "stop") for k in range(20)] + [Reply("CUT", "length")]
    assert 1 < server.most <= 3
    request = next(r for r in server.seen if r["messages"][-1]["content"] == "question 4")
    assert request["messages"][0] == {"role": "system", "content": "Listen."}
    told = (request["max_tokens"], request["temperature"], request["top_p"], request["seed"])
    assert told == (7, 0.5, 0.9, 6)


def test_a_server_that_is_busy_for_a_while_is_waited_for(server):
    server.trouble = [(429, "{}"), (429, "{}"), (503, "{}")]
    assert ServedReplier(server.url, "m", concurrency=1)([ask("hi")], Sampling()) == [Reply("HI", "stop")]
    assert len(server.seen) == 4


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ((404, '{"error": {"message": "no such model"}}'), "refuses \\(404: .*no such model"),
        ((200, "<html>garbage"), "does not answer as an OpenAI-compatible one does"),
        ((200, '{"choices": []}'), "does not answer as an OpenAI-compatible one does"),
    ],
)
def test_a_server_that_answers_badly_is_one_line(server, trouble, message):
    server.trouble = [trouble] * 3
    with pytest.raises(SpeechLLMError, match=message) as caught:
        ServedReplier(server.url, "m", retries=0)([ask("hi")], Sampling())
    assert "\n" not in str(caught.value)


def test_a_server_that_is_down_is_named():
    with pytest.raises(SpeechLLMError, match=r"http://127.0.0.1:9/v1: the server does not answer .*is it running"):
        ServedReplier("http://127.0.0.1:9/v1", "m", retries=0)([ask("hi")], Sampling())


def test_audio_is_sent_along(server):
    question = ask("what was that", audio={"audio": tone(0.5)})
    assert ServedReplier(server.url, "m")([question], Sampling()) == [Reply("0.5 S, WHAT WAS THAT", "stop")]


def evaluated(server, corpus, encoder, out, *more):
    told = ["--server", server.url, "--manifest", str(corpus.manifest), "--out", str(out), "--encoder", encoder]
    return main(["eval", "m", *told, *more])


def about_audio(request):
    return not isinstance(request["messages"][-1]["content"], str)


def test_a_served_model_is_evaluated_beside_ceiling_and_cascade(server, corpus, encoder_reference, tmp_path, capsys):
    assert evaluated(server, corpus, encoder_reference, tmp_path) == 0
    shown = capsys.readouterr().out
    assert all(column in shown for column in ("model", "ceiling", "cascade", "chance"))
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert results["accuracy"]["pitch"].keys() == {"model", "ceiling", "cascade", "chance", "n"}
    assert list(results["tasks"]["pitch"]["systems"]) == list(SYSTEMS)
    heard = json.loads((tmp_path / "recognised.json").read_text(encoding="utf-8"))
    read = [r["messages"][-1]["content"] for r in server.seen if not about_audio(r)]
    assert len(heard) == 8
    assert not [words for words in ["Pitch: Low", *heard.values()] if not any(words in text for text in read)]
    page, *_ = write_comparison([tmp_path], tmp_path / "report.html")
    assert "cascade" in page.read_text()
    asked = len(server.seen)
    assert evaluated(server, corpus, encoder_reference, tmp_path) == 0
    assert len(server.seen) == asked  # every reply was kept


def test_an_llm_in_this_process_reads_beside_a_served_model(server, corpus, encoder_reference, llm_reference, tmp_path):
    small = ["--llm", llm_reference, "--device", "cpu", "--dtype", "float32", "--max-new-tokens", "3"]
    assert evaluated(server, corpus, encoder_reference, tmp_path, *small) == 0
    assert server.seen
    assert all(map(about_audio, server.seen))
    for system in SYSTEMS:
        assert len((tmp_path / "responses" / f"pitch.{system}.jsonl").read_text().splitlines()) == 8
    told = json.loads((tmp_path / "evaluation.json").read_text())
    assert (told["llm"][0], told["encoder"]) == (llm_reference, encoder_reference)


def test_a_folder_of_other_settings_is_refused(server, corpus, encoder_reference, llm_reference, tmp_path, capsys):
    assert evaluated(server, corpus, encoder_reference, tmp_path) == 0
    for encoder, more, named in ((encoder_reference, ["--llm", llm_reference], "llm, dtype"), ("other", [], "encoder")):
        assert evaluated(server, corpus, encoder, tmp_path, *more) == 2
        assert f"replies of another evaluation ({named} differ)" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (["--llm", "x"], "give --server, or leave them out"),
        (["--encoder", "x"], "give --server, or leave them out"),
        (["--server", "http://127.0.0.1:9/v1", "--targets", "t.jsonl"], "--targets needs the model's predictions"),
        (["--server", "http://127.0.0.1:9/v1", "--retention", "full"], "--retention full compares weights at hand"),
    ],
)
def test_options_that_do_not_go_together_are_named(said, message, corpus, tmp_path, capsys):
    assert main(["eval", "m", "--manifest", str(corpus.manifest), "--out", str(tmp_path), *said]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
