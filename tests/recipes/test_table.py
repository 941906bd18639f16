"""recipes/README.md, each recipe's README and the recipes say the same."""

import re
from pathlib import Path

import pytest
from miniature_emotions import EMOTIONS
from miniature_parquet import PARQUET
from miniature_parts import PARTS
from miniature_read import READ
from miniature_sounds import SOUNDS
from miniature_speech import SPEECH

MINIATURES = SPEECH | SOUNDS | EMOTIONS | READ | PARTS | PARQUET
RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = sorted(path.parent.name for path in RECIPES.glob("*/prepare.py"))
ROW = re.compile(r"^\| \[(\w+)\]\(\1/README\.md\) \|(.+)\|$", re.MULTILINE)
ROWS = {
    name: [cell.strip() for cell in cells.split("|")]
    for name, cells in ROW.findall((RECIPES / "README.md").read_text())
}
GENERAL = {"folder", "hugging_face", "lhotse"}
"""Recipes whose corpora have no layout of their own; tests of their own hold them."""


def test_the_table_lists_every_recipe_in_order():
    assert list(ROWS) == NAMES


def test_every_recipe_has_a_miniature_corpus():
    assert sorted(MINIATURES) == sorted(set(NAMES) - GENERAL)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_agrees_with_the_readme(name):
    *_, licence, command = ROWS[name]
    readme = (RECIPES / name / "README.md").read_text()
    assert f"    {command.strip('`')}\n" in readme
    assert command.startswith(f"`speechllm prepare {name} ")
    for part in licence.split(", "):
        assert part in readme
    for heading in ("**Licence**", "**Splits**"):
        assert heading in readme


@pytest.mark.parametrize("name", sorted(MINIATURES))
def test_a_row_names_the_attributes_that_come_out(name):
    rows = [row for split in MINIATURES[name].expected.values() for row in split]
    found = {attribute for row in rows for attribute in row.get("attributes", {})}
    assert found == set(ROWS[name][2].split(", ")) - {"none"}
