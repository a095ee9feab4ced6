"""The page on retrieval: its YAML is an environment, and what it says of the server and the figures is so."""

import re
from pathlib import Path

import yaml
from typer.testing import CliRunner

from sdsearch.cli import app
from sdsearch.core.question import Question
from sdsearch.envs.retrieval.empty import Empty
from sdsearch.envs.search import Search
from sdsearch.rollout.retrieval import search

PAGE = (Path(__file__).parents[2] / "docs" / "retrieval.md").read_text(encoding="utf-8")


def section(name: str) -> str:
    return PAGE.partition(f"## {name}\n")[2].partition("\n## ")[0]


def test_its_yaml_is_an_environment() -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", section("Over HTTP"), re.M | re.S)
    environment = Search.model_validate(yaml.safe_load(text))
    assert environment == Search.model_validate({"retriever": "http"}), "it spells the defaults out"


def test_its_commands_have_these_options() -> None:
    for command, option in re.findall(r"^    sdsearch (\w+) mine\.yaml (--[a-z]+)", PAGE, re.M):
        assert option in CliRunner().invoke(app, [command, "--help"]).stdout
    assert "sdsearch serve" in PAGE and "sdsearch eval mine.yaml --retrieval" in PAGE


def test_its_table_of_figures_has_the_columns_of_the_command() -> None:
    (header,) = [line for line in section("How good is it").splitlines() if "data set │" in line]
    asked = [Question("q", "Who?", ("x",), ("a",))]
    figures = search(Empty().open(), asked, top_k=Search.model_fields["top_k"].default, batch=1)[""].figures
    assert [cell.strip() for cell in header.split("│")[1:-1]] == ["data set", "questions", "with gold", *figures]
