import pytest

from speechllm.config import EvaluationConfig
from speechllm.data.manifest import Utterance
from speechllm.data.prompts import Prompt
from speechllm.errors import SpeechLLMError
from speechllm.eval.evaluation import asked_tasks
from speechllm.eval.hearing import Answers, score
from speechllm.eval.instruction_form import RULES, instruction_tasks
from speechllm.eval.tasks import Task, attribute_task
from speechllm.models.reply import Reply

pytest.importorskip("if_verifiable", reason="needs the extra eval")


def task(clips: int = 1) -> Task:
    utterances = [
        Utterance(id=f"u{k}", audio="u.wav", duration=1.0, sampling_rate=16000, attributes={"gender": "male"})
        for k in range(clips)
    ]
    return attribute_task("gender", utterances, Prompt(id="p", kind="gender", text="Who speaks?"))


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("title", "<<Voice>>\nA man speaks.", "Voice: a man speaks."),
        ("postscript", "A man. P.S. He is loud.", "A man, he is loud."),
        ("keyword", "All evidence tells of a man.", "A man."),
        ("sentences", "A man speaks. He is loud. He is near.", "A man speaks. He is loud."),
        ("one_sentence", "A man speaks.", "A man speaks. He is loud."),
        ("few_words", "It is a man who speaks here.", "It is a man who speaks here, I think."),
    ],
)
def test_every_rule_tells_replies_that_keep_to_it_from_others(rule, good, bad):
    (asked,) = [t for t in instruction_tasks(task()) if t.name == f"instruction.gender.{rule}"]
    (question,) = asked.questions
    assert question.prompt.text.startswith("Who speaks? ")
    assert asked.follows is not None
    assert [asked.follows(question, reply) for reply in (good, bad, "")] == [True, False, False]


def test_rules_are_told_apart_from_what_is_heard_and_kept_is_of_what_the_ceiling_manages():
    plain, (title, *_) = task(2), instruction_tasks(task(2))
    right, wrong = Reply("<<A>> a man", "stop"), Reply("a man", "stop")
    said = {"ceiling": [right, right], "model": [right, wrong], "cascade": [wrong] * 2, "nothing": [wrong] * 2}
    results = score([Answers(plain, said), Answers(title, said)])
    assert list(results["accuracy"]) == ["gender"]
    following = results["instruction_following"]
    assert [following[system]["followed"] for system in said] == [1, 0.5, 0, 0]
    assert (following["able"], following["kept"]) == (2, 0.5)


def test_few_questions_are_asked_in_forms_and_all_in_plain_words():
    asked = asked_tasks([task(9)], EvaluationConfig(forms=True, form_questions=4))
    assert len(asked) == 1 + 3 + len(RULES)
    assert len(asked[0].questions) == 9
    assert {tuple(q.id for q in form.questions) for form in asked[1:]} == {tuple(q.id for q in asked[1].questions)}
    assert len(asked[1].questions) == 4


def test_a_task_without_questions_is_named():
    with pytest.raises(SpeechLLMError, match="task 'gender' has no questions"):
        asked_tasks([task(0)], EvaluationConfig())
