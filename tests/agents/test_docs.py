"""What docs/agents.md shows is run: its spec, and both functions on questions of the atlas."""

import importlib
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdsearch.agents.callable import CallableAgent
from sdsearch.agents.chat import Chat
from sdsearch.cli import app
from sdsearch.config.discovery import known
from sdsearch.config.keys import variable
from sdsearch.contracts.agent import Agent
from sdsearch.core.trajectory import read_groups, write_groups
from sdsearch.evaluation.evaluate import evaluate
from sdsearch.rollout.evaluate import mean
from sdsearch.spec import load

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
((FILE, SOURCE),) = re.findall(r"^```python file=(\S+)\n(.*?)^```$", PAGE, re.M | re.S)
(YAML,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)


def test_the_page_knows_every_agent_and_setting() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE.partition("## A served")[0], re.M)) == set(known(Agent))
    served, _, own = PAGE.partition("## A function of your own")
    assert all(re.search(rf"`?\b{name}\b", served) for name in Chat.model_fields)
    assert all(re.search(rf"\b{name}\b", own) for name in CallableAgent.model_fields)
    assert f"`{variable('llm.my-lab.org')}` goes to llm.my-lab.org" in PAGE
    assert len(SOURCE.splitlines()) <= 20


def test_its_spec_is_one(tmp_path: Path) -> None:
    path = tmp_path / "served.yaml"
    path.write_text(YAML.replace("specs/", f"{ROOT}/specs/"))
    done = CliRunner().invoke(app, ["check", str(path), "--data"])
    assert "agent: nothing listens at http://127.0.0.1:8000/v1/models" in done.stderr
    assert load(path).environment.grammar.prompt(load(path).questions("test")[0]).startswith("Answer the question")


@pytest.mark.parametrize(("name", "searches"), [("solve", 2), ("act", 1)])
def test_its_functions_play(name: str, searches: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE).write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("mine_agent", None)
    importlib.invalidate_caches()
    spec = ROOT / "specs" / "tiers" / "two_hop_bm25.yaml"
    agent = f"agent={{type: callable, function: 'mine_agent:{name}'}}"
    groups = evaluate(load(spec, [agent, "objective=null", "evaluate.questions=12"])).groups
    figures = mean(groups)
    assert (figures["searches"], figures["outage"], figures["no_answer"]) == (searches, 0, 0)
    assert figures["gold_recall"] > 0
    write_groups(tmp_path / "groups.jsonl", groups)
    assert list(read_groups(tmp_path / "groups.jsonl")) == groups
