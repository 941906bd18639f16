"""Two Ray workers on this machine, on loopback."""

import os
import sys
from functools import partial

import pytest

from speechllm.data.render import ask
from speechllm.errors import SpeechLLMError
from speechllm.models import fleet
from speechllm.models.fleet import CHUNK, FleetReplier
from speechllm.models.reply import Reply, Sampling
from speechllm.targets.generation import load_text_llm

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def _two_cores():
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file
    with pytest.MonkeyPatch.context() as patch:
        # Ray listens on loopback alone if that is the address of its node, but puts a public one in its place.
        patch.setattr(ray._private.services, "resolve_ip_for_localhost", lambda host: host)
        ray.init(num_cpus=2, _node_ip_address="127.0.0.1", include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def signed(reference):
    """The LLM, signing its replies with the process it runs in."""
    reply = load_text_llm(reference, "cpu", "float32").reply

    def write(conversations, sampling, description):
        return [Reply(f"{r.text}|{os.getpid()}", r.finish_reason) for r in reply(conversations, sampling, description)]

    return write


def troubled():
    def write(conversations, sampling, description):
        if conversations[0][-1]["content"][0]["text"] == "die":
            os._exit(1)
        raise SpeechLLMError("the prompt is too long")

    return write


def test_replies_of_two_workers_are_those_of_one_process_in_order(llm_reference):
    questions = [ask(f"Is the speaker {k} male?") for k in range(3 * CHUNK + 3)]
    sampling = Sampling(max_new_tokens=4)
    signatures = [r.text.rsplit("|", 1) for r in FleetReplier(partial(signed, llm_reference), 2)(questions, sampling)]
    here = load_text_llm(llm_reference, "cpu", "float32").reply
    alone = [here(questions[at : at + CHUNK], sampling) for at in range(0, len(questions), CHUNK)]
    assert [text for text, _ in signatures] == [reply.text for replies in alone for reply in replies]
    assert len({pid for _, pid in signatures} - {str(os.getpid())}) == 2


def test_a_worker_that_fails_or_dies_is_one_line(monkeypatch):
    monkeypatch.setattr(fleet, "RESTARTS", 0)
    workers = FleetReplier(troubled, 1)
    for word, message in [("fail", "^the prompt is too long$"), ("die", "a Ray worker died")]:
        with pytest.raises(SpeechLLMError, match=message) as caught:
            workers([ask(word)], Sampling())
        assert "\n" not in str(caught.value)
