"""Questions to be answered as JSON: whether a model that learnt to hear still keeps to a form that it is asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jsonschema

from speechllm.data.attributes import display_name
from speechllm.eval.tasks import Question, Task

_FENCE = re.compile(r"^\s*```(?:json)?\s*(.*?)\s*```\s*$", re.DOTALL | re.IGNORECASE)

FORMS = ("answer", "own key", "two keys")
"""`{"answer": ...}`, `{"emotion": ...}` and `{"emotion": ..., "reason": ...}`."""


def parse_json(reply: str) -> Any | None:
    """The JSON object or list that the reply is, within a code fence or without; None if it is none."""
    fenced = _FENCE.match(reply)
    try:
        value = json.loads(fenced[1] if fenced else reply.strip())
    except (ValueError, RecursionError):  # thousands of brackets, from a model that repeats itself
        return None
    return value if isinstance(value, dict | list) else None


def find_json(reply: str) -> Any | None:
    """The first JSON object or list that stands anywhere in the reply, as a caller would cut it out; None if none."""
    for start in re.finditer(r"[\[{]", reply):
        try:
            return json.JSONDecoder().raw_decode(reply, start.start())[0]
        except ValueError:
            continue
        except RecursionError:
            return None
    return None


def json_tasks(task: Task) -> list[Task]:
    """The questions of an accuracy task once more in each of `FORMS`, with the true value under the first key."""
    return [_in_form(task, form) for form in FORMS]


def _in_form(task: Task, form: str) -> Task:
    attribute = task.questions[0].prompt.kind
    keys = {"answer": ["answer"], "own key": [attribute], "two keys": [attribute, "reason"]}[form]
    named = " and ".join(f'"{key}"' for key in keys)
    lead = f"Write a JSON object with the {'keys' if len(keys) > 1 else 'key'} {named}. "

    def asked(question: Question) -> Question:
        prompt = question.prompt.model_copy(
            update={"id": f"{question.prompt.id}-json", "text": lead + question.prompt.text}
        )
        return replace(question, prompt=prompt)

    def extract(question: Question, reply: str) -> str | None:
        value = find_json(reply)
        return task.extract(question, str(value.get(keys[0], ""))) if isinstance(value, dict) else None

    return replace(
        task,
        name=f"json.{task.name}.{form.replace(' ', '_')}",
        questions=tuple(map(asked, task.questions)),
        extract=extract,
        follows=lambda question, reply: find_json(reply) is not None,
        schema=schema(keys),
        version="2",
        rule=f"holds a JSON object; its key {keys[0]!r} names the true {display_name(attribute).lower()} and no other",
    )


def schema(keys: Sequence[str]) -> dict[str, Any]:
    """JSON schema of an object that has these keys and no other, all of them strings."""
    return {
        "type": "object",
        "properties": {key: {"type": "string"} for key in keys},
        "required": list(keys),
        "additionalProperties": False,
    }


def json_scores(replies: Sequence[str], wanted: dict[str, Any]) -> dict[str, float]:
    """`found`: share of replies that hold JSON; `valid`: that are nothing else; `schema`: and keep to the schema."""
    parsed = [parse_json(reply) for reply in replies]
    fits = jsonschema.Draft202012Validator(wanted).is_valid
    return {
        "found": sum(find_json(reply) is not None for reply in replies) / len(replies),
        "valid": sum(value is not None for value in parsed) / len(replies),
        "schema": sum(value is not None and fits(value) for value in parsed) / len(replies),
    }
