"""VoiceBench: IFEval's mean, option letters, and ratings that stand in the files."""

import json

import pytest

from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.benchmark import Inputs
from speechllm.eval.benchmarks.voicebench import VOICEBENCH, chosen, option_letter


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SPEECHLLM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def _scored(folder, name, rows, *questions):
    path = folder / f"own-{name}-test-audio.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return VOICEBENCH.score(Inputs([path], questions))


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("B", "B"),
        ("b.", "B"),
        ("(C)", "C"),
        ("The answer is **D**, since it rains.", "D"),
        ("The correct answer is: \n\n**B) Wind**", "B"),
        ("I would choose option a because it fits.", "A"),
        ("Option C.", "C"),
        ("C: rain", "C"),
        ("the answer is b because of rain", "B"),
        ("It is a dog.", None),  # an article
        ("It is a dog, so B.", "B"),
        ("A or B", None),
        ("Either (a) or (b)", None),  # several options named
        ("The answer is A, not that the answer is B.", None),
        ("rain", None),
        ("", None),
        ("Ｂ", None),
    ],
)
def test_option_letters(response, expected):
    assert option_letter(response) == expected


@pytest.mark.parametrize("name", ["openbookqa", "mmsu"])
def test_option_letter_sets(tmp_path, name):
    rows = [
        {"id": k, "prompt": "?", "reference": "B", "response": r} for k, r in enumerate(["<1> B", "A", "rain", None])
    ]
    scored = _scored(tmp_path, name, rows)
    assert scored.metrics == {name: {"acc": 25.0, "fail": 50.0}}
    assert [v.verdict for v in scored.verdicts] == ["right", "wrong", "unparsable", "missing"]


@pytest.mark.parametrize(
    ("response", "reference", "expected"),
    [
        ("Yes, the sentence is plausible.", "yes", "yes"),
        ("No.", "yes", "no"),
        ("Yes and no.", "no", None),
        ("It is not known; nothing says so.", "no", None),  # words that begin like one
        ("The answer is (b).", "(b)", "(b)"),
        ("Option A", "(b)", "(a)"),
        ("B", "b", "B"),
    ],
)
def test_what_is_chosen_has_the_form_of_the_reference(response, reference, expected):
    assert chosen(response, reference) == expected


def test_yes_or_no_set(tmp_path):
    said = [("yes", "Yes, it is."), ("no", "yes"), ("(a)", "a <|user|>"), ("no", "Who knows?"), ("no", None)]
    rows = [{"id": f"navigate_{k}", "prompt": "?", "reference": r, "response": s} for k, (r, s) in enumerate(said)]
    scored = _scored(tmp_path, "bbh", rows)
    assert scored.metrics == {"bbh": {"acc": 40.0, "fail": 40.0}}
    assert [v.verdict for v in scored.verdicts] == ["right", "wrong", "right", "unparsable", "missing"]


def test_refusals_set(tmp_path):
    said = ["I'm sorry, I can't help with that.", "", "Sure! First, take a ladder.", None]
    scored = _scored(tmp_path, "advbench", [{"id": k, "prompt": "?", "response": s} for k, s in enumerate(said)])
    assert scored.metrics == {"advbench": {"refusal_rate": 50.0}}
    assert [v.verdict for v in scored.verdicts] == ["right", "right", "wrong", "missing"]


def test_ifeval_set(tmp_path):
    asked = {"instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [{}, {}]}
    responses = ['<2> "fine"<|user|>', 'Sure!\n"fine"', "no, no", None]
    scored = _scored(
        tmp_path, "ifeval", [{"key": k, "prompt": f"p{k}", **asked, "response": r} for k, r in enumerate(responses)]
    )
    assert scored.metrics["ifeval"] == {
        "strict-prompt": 25.0,
        "strict-instruction": 37.5,
        "loose-prompt": 50.0,
        "loose-instruction": 50.0,
        "final": 40.62,
    }
    assert [(v.id, v.verdict) for v in scored.verdicts][-1] == ("ifeval 3", "missing")


def test_ratings(tmp_path):
    rows = [{"prompt": "p", "response": "r", "score": ["4", "5", "[[3]]"]}, {"prompt": "q"}]
    scored = _scored(tmp_path, "commoneval", rows)
    assert scored.metrics == {"commoneval": {"gpt": 3.25}}  # a missing response is rated 1
    assert (scored.verdicts[0].verdict, scored.verdicts[0].rating, scored.verdicts[0].set) == (
        "measured",
        4.0,
        "commoneval",
    )
    assert scored.judge == "stored in the response files"
    scored = _scored(tmp_path, "alpacaeval", [{"prompt": "p", "response": "r"}])
    assert (scored.metrics, scored.judge) == ({"alpacaeval": {"gpt": None}}, None)
    with pytest.raises(SpeechLLMError, match=r"jsonl:1: the rating 'good' is neither"):
        _scored(tmp_path, "wildvoice", [{"prompt": "p", "response": "r", "score": ["good"]}])


def test_questions_apart_and_unknown_sets(tmp_path):
    questions = tmp_path / "mmsu.jsonl"
    questions.write_text("\n".join(json.dumps({"id": k, "reference": "A"}) for k in range(2)))
    scored = _scored(tmp_path, "mmsu", [{"id": 1, "response": "A"}], questions)
    assert [v.verdict for v in scored.verdicts] == ["missing", "right"]
    with pytest.raises(SpeechLLMError, match="the name tells no set"):
        _scored(tmp_path, "sd-qa", [{"prompt": "p", "response": "r"}])
