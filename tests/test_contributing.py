"""What the guide and the read-me say is executed; the guide's examples are trained with."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from accelerate import Accelerator
from pydantic import TypeAdapter

from sdsearch.config.component import resolve
from sdsearch.config.load import load_any
from sdsearch.contracts.credit import Credit, GroupCredit
from sdsearch.contracts.data import Corpus, Dataset
from sdsearch.contracts.hint import Hint
from sdsearch.contracts.loss import Term
from sdsearch.contracts.retrieval import Retriever
from sdsearch.core.question import Passage, Question
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group, read_groups
from sdsearch.core.usage import Clock
from sdsearch.envs.search import Search
from sdsearch.errors import DataError
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.learner import Learner
from sdsearch.learning.processes import Processes
from sdsearch.learning.train import train
from sdsearch.policy.policy import Policy
from sdsearch.spec import Data, Objective, load
from sdsearch.study.spec import jobs
from sdsearch.testing import check_credit, check_hint, check_retriever, check_term, example_groups, example_trajectory

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```python file=(\S+)\n(.*?)^```$", GUIDE, re.M | re.S))
LINES: list[tuple[str, str]] = re.findall(r"^```yaml (\w+)\n(.*?)^```$", GUIDE, re.M | re.S)
NAMES = {Path(file).stem for file in FILES}
SPEC = """
name: guide
model: {name: ./model, device: cpu}
sampling: {max_new_tokens: 8}
train: {steps: 1, questions: 2, group: 3, learning_rate: 0.01}
evaluate: {questions: 2, greedy: false}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder that holds the examples as a package `mine`, and the files that their YAML names."""
    (tmp_path / "mine").mkdir()
    for file, source in FILES.items():
        (tmp_path / "mine" / Path(file).name).write_text(source, encoding="utf-8")
    for name in ("train", "test"):
        rows = "".join(f"Which city does Airport {i} serve?,Rome;Roma\n" for i in range(3))
        (tmp_path / f"{name}.csv").write_text(f"question,answer\n{rows}")
    corpus = [{"id": str(i), "title": f"Airport {i}", "text": "It serves Rome."} for i in range(4)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for module in [m for m in sys.modules if m.partition(".")[0] == "mine"]:
        del sys.modules[module]


def line(section: str, holds: str = "") -> dict[str, Any]:
    """Return the guide's line of YAML for a section, its own components named as modules of `mine`."""
    (text,) = (text for name, text in LINES if name == section and holds in text)
    dotted = re.sub(rf"type: ({'|'.join(NAMES)})\b", r"type: mine.\1", text)
    found: dict[str, Any] = yaml.safe_load(dotted)
    return found


def objective(holds: str) -> Objective:
    """Return the objective that the guide's lines of YAML make."""
    return Objective.model_validate({**line("credit"), **line("terms", holds)})


def test_an_example_is_short_and_lies_in_the_folder_of_its_family() -> None:
    assert sorted(NAMES) == ["anchor", "by_title", "first_search", "quiz", "tally"]
    assert {name for name, _ in LINES} == {"credit", "study", "terms", "retriever", "data"}
    for file, source in FILES.items():
        assert (ROOT / file).parent.is_dir()
        assert not (ROOT / file).exists(), f"{file} is taken: the guide needs another name"
        assert len(source.splitlines()) <= 30


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        file, _, heading = target.partition("#")
        there = page.parent / file if file else page
        assert there.exists(), target
        if heading:
            lines = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.M)
            assert heading in {re.sub(r"\W+", "-", line.lower()) for line in lines}, target


def test_the_specs_of_the_read_me_load(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    specs = re.findall(r"^```yaml\n((?:name|base): .*?)^```$", text, re.M | re.S)
    assert len(specs) == 2
    for spec in specs:
        (tmp_path / "spec.yaml").write_text(spec.replace("base: ", f"base: {ROOT}/"))
        swapped = load(tmp_path / "spec.yaml", ["objective.credit=[leave_one_out]"]).objective
        assert swapped is not None
        assert [c.type for c in swapped.credit] == ["leave_one_out"]


def test_the_numbers_of_the_pages_are_those_of_the_data() -> None:
    def three_hops(split: str) -> int:
        return len(TypeAdapter(Dataset).validate_python({"type": "atlas", "split": split, "hops": [3]}).questions())

    passages = f"{len(TypeAdapter(Corpus).validate_python('atlas').passages()):,} passages"
    assert all(
        passages in page.read_text(encoding="utf-8") for page in PAGES if page.name in ("README.md", "CHANGELOG.md")
    )
    record = (ROOT / "docs" / "adr" / "0006-atlas.md").read_text(encoding="utf-8")
    assert passages in record
    assert f"{three_hops('train'):,} for training and {three_hops('test'):,} for test" in record


def test_the_credit(folder: Path) -> None:
    (credit,) = objective("tally").credit
    assert type(credit) is resolve(Credit, "mine.first_search")
    assert isinstance(credit, GroupCredit)
    check_credit(credit)
    question = Question("q", "Where?", ("Paris",))
    plays = [([("search", "a b"), ("answer", "Paris")], 1.0), ([("answer", "Rome")], 0.0)]
    group = Group(question, tuple(example_trajectory(question, actions, reward) for actions, reward in plays))
    first, second = credit.of_group(group)
    np.testing.assert_array_equal(first, [0.5] * 5 + [np.nan] * 4)
    np.testing.assert_array_equal(second, [-0.5] * 4)


def test_the_hint(folder: Path) -> None:
    hint = TypeAdapter(Hint).validate_python({"type": "mine.tally"})
    check_hint(hint)
    mixed, _, alone, *_ = example_groups()
    text = "Of 3 attempts at this question 2 were right.\n\n"
    assert hint.texts([mixed, alone], 0) == [[text] * 3, [None]]


def test_the_term(folder: Path) -> None:
    term = objective("anchor").terms[1]
    assert type(term) is resolve(Term, "mine.anchor")
    check_term(term)


def test_the_study(folder: Path) -> None:
    asked = line("study")
    (folder / "mine.yaml").write_text(yaml.safe_dump(asked | {"experiment": str(ROOT / asked["experiment"])}))
    found = jobs(load_any(folder / "mine.yaml"))
    assert sorted({j.arm for j in found}) == ["first_search", "grpo"]
    assert len(found) == 6


def test_the_retriever(folder: Path) -> None:
    retriever = Search.model_validate(line("retriever")).retriever
    assert type(retriever) is resolve(Retriever, "mine.by_title")
    passages = [Passage(str(i), f"Airport {i}", "It serves Rome.") for i in range(4)]
    searcher = retriever.open()
    check_retriever(searcher, passages)
    found = searcher.search(["airport 2", "harbour"], 2)
    assert [[(h.passage.id, h.score) for h in hits] for hits in found] == [[("2", 2.0), ("0", 1.0)], []]


def test_the_data_set(folder: Path) -> None:
    data = Data.model_validate(line("data")["data"])
    questions = data.train.questions()
    assert [q.id for q in questions] == ["train-0", "train-1", "train-2"]
    assert questions[0] == Question("train-0", "Which city does Airport 0 serve?", ("Rome", "Roma"))
    (folder / "test.csv").write_text("query,answer\nx,y\n")
    for path in ("test.csv", "none.csv"):
        with pytest.raises(DataError, match=path):
            data.test.model_copy(update={"path": Path(path)}).questions()


@pytest.mark.parametrize("holds", ["tally", "anchor"])
def test_one_update_with_the_credit_and_a_term(folder: Path, tiny: Policy, holds: str) -> None:
    spec = load(write(folder)).model_copy(update={"objective": objective(holds)})
    groups, stage = example_groups(), spec.stage(0)
    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    learner = Learner(spec, Processes(Accelerator(cpu=True)), policy=tiny)
    advantages = step_advantages(stage.objective.credit, groups)
    table = TokenTable.build(groups, advantages.values)
    (figures,) = learner.learn(groups, advantages, stage, 0, Clock()).updates
    # Where all attempts fared alike the credit is zero, and nothing is computed.
    assert figures["clipped_pg/rows"] == ((table.turn == 0) & (table.advantage != 0)).sum().item() > 0
    assert any(not torch.equal(value, before[name]) for name, value in tiny.model.state_dict().items())


def test_a_run_with_all_of_them(folder: Path, tiny: Policy) -> None:
    tiny.model.save_pretrained(folder / "model")
    tiny.codec.tokenizer.save_pretrained(folder / "model")
    run = train(load(write(folder)))
    groups = list(read_groups(run.folder / "trajectories" / "step_1.jsonl"))
    kept = [t for g in groups for t in g.kept]
    (figures,) = (m["train"] for m in run.metrics() if "train" in m)
    apart = [t for g in groups if len({t.reward for t in g.kept}) > 1 for t in g.kept]
    assert figures["clipped_pg/rows"] == sum(len(t.actions[0].tokens) for t in apart)
    assert figures["distill/rows"] == sum(t.sampled for t in kept)
    assert {g.question.id.partition("-")[0] for g in groups} == {"train"}


def write(folder: Path) -> Path:
    """Write the spec that uses every example but the term."""
    spec = {
        **yaml.safe_load(SPEC),
        **line("data"),
        "environment": {**line("retriever"), "max_turns": 2},
        "objective": {**line("credit"), **line("terms", "tally")},
    }
    (folder / "guide.yaml").write_text(yaml.safe_dump(spec))
    return folder / "guide.yaml"
