"""The ablations: each is one line off the experiment, does something, and can be learned from."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from sdsearch.config.catalogue import SPECS
from sdsearch.config.document import Path as Keys
from sdsearch.contracts.environment import Grammar
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment, Trajectory, Turn
from sdsearch.core.usage import Clock
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.learner import Learner
from sdsearch.learning.processes import Processes
from sdsearch.policy.policy import Policy
from sdsearch.spec import Experiment, load

FOLDER = SPECS / "ablations"
FILES = sorted(FOLDER.glob("*.yaml"))
BASE = load(SPECS / "sd_search.yaml")
PAPER = (
    "current_documents no_future_masking shuffled_labels no_labels single_rollout correct_only policy_tokens "
    "without_self forward_kl reverse_kl mse"
)
EACH = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def code(path: Path) -> list[str]:
    """Return the lines of a spec that are no comments."""
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


def leaves(value: Any, path: Keys = ()) -> dict[Keys, Any]:
    """Return the single values of a spec by their paths."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = {k: v for key, inner in items for k, v in leaves(inner, (*path, key)).items()}
    return found or {path: value}


def test_every_ablation_of_the_paper_is_there() -> None:
    assert set(PAPER.split()) <= {path.stem for path in FILES}


@EACH
def test_one_line_is_different(path: Path) -> None:
    base, line = code(path)
    assert base == "base: ../sd_search.yaml"
    assert line.startswith("objective: {terms: {1: {")
    ours, theirs = (leaves(spec.model_dump(mode="json")) for spec in (load(path), BASE))
    different = {k for k in ours.keys() | theirs.keys() if k not in ours or k not in theirs or ours[k] != theirs[k]}
    assert {k for k in different if k[:3] != ("objective", "terms", 1)} == {("name",)}
    assert len({k[3] for k in different if len(k) > 3}) == 1


def test_the_document_lists_each_with_its_line() -> None:
    text = (Path(__file__).parents[1] / "docs" / "ablations.md").read_text()
    rows = re.findall(r"^\| \[`(\w+)`\]\(\.\./specs/ablations/(\w+)\.yaml\) \| `([^`]+)` \|", text, re.M)
    written = {stem: line for stem, file, line in rows if stem == file}
    assert written == {p.stem: code(p)[1].removeprefix("objective: {terms: {1: {").removesuffix("}}}") for p in FILES}


Attempt = tuple[list[tuple[str, str]], float]
PLAYS: dict[str, list[Attempt]] = {
    "Where does Orang Airport lie?": [
        ([("Orang Airport city", "It serves Chongjin."), ("Chongjin country", "Chongjin is in Korea.")], 1.0),
        ([("Orang Airport city", "It serves Chongjin."), ("Korea", "Korea is in Asia.")], 0.0),
        ([("Orang", "It serves Chongjin."), ("Korea Chongjin", "Korea is in Asia.")], 1.0),
    ],
    "What is the capital of the land where Axum lies?": [
        ([("Axum country", "Axum is in Ethiopia."), ("Ethiopia capital", "It is Addis Ababa.")], 1.0),
        ([("Axum capital", "Axum is a town.")], 0.0),
        ([("Ethiopia capital", "It is Addis Ababa.")], 1.0),
    ],
}


def played(policy: Policy, grammar: Grammar, question: Question, attempt: Attempt) -> Trajectory:
    """Write an episode out in the tokens of the policy, as if it had been sampled."""
    searches, reward = attempt
    answer = question.answers[0] if reward else "Rome"
    prompt = grammar.prompt(question)
    segments = [Segment("prompt", prompt, policy.codec.prompt(prompt))]
    for kind, text, found in [*(("search", q, d) for q, d in searches), ("answer", answer, "")]:
        written = grammar.write(kind, text, "I look" if kind == "search" else "")
        tokens = policy.codec.encode(written)
        segments.append(Segment("model", written, tokens, (-0.5,) * len(tokens), policy.codec.spans(tokens, grammar)))
        if found:
            seen = f"\n\n<information>Doc 1(Title: {text}) {found}\n</information>\n\n"
            segments.append(Segment("observation", seen, policy.codec.encode(seen)))
    turns = (*(Turn("search", q) for q, _ in searches), Turn("answer", answer))
    return Trajectory(question, tuple(segments), turns, "answered", reward)


Figures = dict[str, float]
Learn = Callable[[Experiment, int], list[Figures]]
AT_START = ("ema_teacher", "frozen_teacher")
"""These are the policy itself before the first update."""


@pytest.fixture(scope="module")
def learn() -> Learn:
    """Return what takes some steps of an experiment on two mixed groups, and returns the figures of each."""
    policy = Policy.load(BASE.model, BASE.sampling.temperature)
    start = {name: value.clone() for name, value in policy.model.state_dict().items()}
    questions = [
        Question(f"q{i}", text, (answer,))
        for i, (text, answer) in enumerate(zip(PLAYS, ("Korea", "Addis Ababa"), strict=True))
    ]
    grammar = BASE.environment.grammar
    groups = [Group(q, tuple(played(policy, grammar, q, a) for a in PLAYS[q.text])) for q in questions]

    def steps(experiment: Experiment, count: int) -> list[Figures]:
        policy.model.load_state_dict(start)
        # Plain steps of a tenth: the spec's own rate is meant for AdamW.
        train = experiment.train.model_copy(update={"learning_rate": 0.1, "warmup_steps": 0})
        plain = experiment.model_copy(update={"train": train})
        learner, stage = Learner(plain, Processes(Accelerator(cpu=True)), policy=policy), plain.stage(0)
        learner.optimizer = torch.optim.SGD(policy.model.parameters(), lr=0.1)
        figures = []
        for step in range(count):
            advantages = step_advantages(stage.objective.credit, groups)
            figures.append(learner.learn(groups, advantages, stage, step, Clock()).updates[0])
        return figures

    return steps


@pytest.fixture(scope="module")
def expected(learn: Learn) -> list[Figures]:
    """Return the figures of the experiment itself."""
    return learn(BASE, 2)


@EACH
def test_a_step_learns_and_is_another_one(path: Path, learn: Learn, expected: list[Figures]) -> None:
    found = learn(load(path), 1 + (path.stem in AT_START))
    for figures in found:
        assert all(torch.isfinite(torch.tensor(value)) for value in figures.values())
        assert figures["distill/rows"] > 0
        assert figures["gradient_norm"] > 0
        assert figures["clipped_pg/rows"] == expected[0]["clipped_pg/rows"]
    loss, theirs = (of[len(found) - 1]["distill/loss"] for of in (found, expected))
    assert loss != pytest.approx(theirs, rel=1e-4)
    if path.stem in AT_START:
        assert found[0]["distill/loss"] == pytest.approx(expected[0]["distill/loss"], rel=1e-4)
        assert found[0]["drift_mean"] != found[1]["drift_mean"]  # the weights have moved


def test_which_hints_give_the_answer_away(learn: Learn) -> None:
    """The queries of one group name its answer (Korea), those of the other do not name Addis Ababa."""
    share = {
        name: learn(load(SPECS / f"{name}.yaml"), 1)[0]["distill/answer_in_hint"]
        for name in ("sd_search", "ablations/no_future_masking", "ablations/gold_answer", "ablations/placebo")
    }
    assert share == {
        "sd_search": pytest.approx(0.5, abs=1e-6),
        "ablations/no_future_masking": pytest.approx(1.0),
        "ablations/gold_answer": pytest.approx(1.0),
        "ablations/placebo": pytest.approx(0.0),
    }
