"""The flip test during a run: what is scored, what is recorded, and that nothing else changes."""

import json
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from sdsearch.contracts.credit import Numbers, Probe
from sdsearch.contracts.hint import Hints, Teacher
from sdsearch.core.trajectory import Group, kept, read_groups
from sdsearch.errors import ContextError
from sdsearch.learning.labels import hint_figures, hinted, measure, turned
from sdsearch.learning.train import train
from sdsearch.objectives.credit.log_ratio import LogRatio
from sdsearch.objectives.hints.gold_answer import GoldAnswer
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.objectives.hints.placebo import Placebo
from sdsearch.objectives.terms.clipped_pg import ClippedPG
from sdsearch.objectives.terms.distill import Distill
from sdsearch.runs.folder import Run
from sdsearch.spec import Objective, load


class Asked(Probe):
    """Likes every token of an attempt whose line has the right label by so many nats; remembers what it was asked."""

    def __init__(self, nats: float) -> None:
        self.nats, self.hints = nats, list[Hints]()

    def logprobs(self, groups: Sequence[Group], hints: Hints | None = None, teacher: Teacher = "live") -> Numbers:
        assert hints is not None
        self.hints.append(hints)
        found = []
        for trajectory, hint in zip(kept(groups), hints, strict=True):
            good = f"\nCorrect: {' | '.join(trajectory.queries)}\n" in str(hint)
            value = np.nan if hint is None else self.nats * good
            found.append(np.full(trajectory.sampled, value))
        return found


OBJECTIVE = Objective(credit=[], terms=[ClippedPG(), Distill(hint=Hindsight())])


def test_one_attempt_of_each_chosen_group_is_scored(recorded: Path) -> None:
    groups = list(read_groups(recorded))
    began = set()
    for seed, (most, count) in product(range(6), ((1, 1), (2, 2), (9, 3))):
        probe = Asked(0.5)
        found = measure(groups, OBJECTIVE, 0, probe, seed, most)
        assert found.keys() == {"distill"}
        assert len(found["distill"]) == count
        scored = [[h is not None for h in hints] for hints in probe.hints]
        assert scored[0] == scored[1]
        parts = np.split(np.array(scored[0]), [3, 6, 9])
        assert sorted(int(part.sum()) for part in parts) == [0] * (4 - count) + [1] * count
        assert not parts[3].any()  # a group that was right throughout
        right = [bool(part[0]) for part in parts if part.any()]  # the first of each group is the right one
        assert all(one != other for one, other in pairwise(right)), "in turn a right one and a wrong one"
        began.add(right[0])
        true, flipped = (set(filter(None, hints)) for hints in probe.hints)
        assert all("\nCorrect: Airport 1 city | city" in str(text) for text in true)
        assert all("\nIncorrect: Airport 1 city | city" in str(text) for text in flipped)
    assert began == {True, False}


def test_the_sums_by_hand(recorded: Path) -> None:
    """Each query of n tokens is n half nats more likely where its own line has the label that belongs to it."""
    groups = list(read_groups(recorded))
    (found,) = measure(groups, OBJECTIVE, 0, Asked(0.5), 0, 9).values()
    lengths = [[sum(span == 1 for span in s.spans) for s in t.actions[:-1]] for t in groups[0].trajectories]
    assert all(pair in [(0.5 * sum(queries), float(len(queries))) for queries in lengths] for pair in found)


def test_hints_of_terms_and_credits_are_found() -> None:
    objective = Objective(
        credit=[LogRatio()], terms=[ClippedPG(), Distill(hint=GoldAnswer()), Distill(hint=None, teacher="ema")]
    )
    assert [name for name, *_ in hinted(objective, 0)] == ["distill", "log_ratio"]
    assert turned(Hindsight()) == Hindsight(labels="flipped")
    assert turned(GoldAnswer()) == Placebo(hint=GoldAnswer())


def test_a_term_that_does_not_count_yet_is_not_measured(recorded: Path) -> None:
    """The weights of its teacher need not even be kept."""
    later = Distill.model_validate({"hint": "hindsight", "weight": {"value": 1.0, "from_step": 5}})
    objective = Objective(credit=[], terms=[ClippedPG(), later, Distill(hint=Hindsight(), weight=0.0)])
    assert [[name for name, *_ in hinted(objective, step)] for step in (0, 4, 6)] == [[], [], ["distill"]]
    assert measure(list(read_groups(recorded)), objective, 0, Asked(0.5), 0, 9) == {}


class Short(Asked):
    """Has no room for some words."""

    def __init__(self, word: str) -> None:
        super().__init__(0.5)
        self.word = word

    def logprobs(self, groups: Sequence[Group], hints: Hints | None = None, teacher: Teacher = "live") -> Numbers:
        if any(self.word in str(hint) for hint in hints or ()):
            raise ContextError("too long")
        return super().logprobs(groups, hints, teacher)


def test_a_twin_that_does_not_fit_ends_no_run_and_a_hint_does(recorded: Path) -> None:
    groups = list(read_groups(recorded))
    assert measure(groups, OBJECTIVE, 0, Short("\nIncorrect: Airport 1 city"), 0, 9) == {}
    with pytest.raises(ContextError):
        measure(groups, OBJECTIVE, 0, Short("\nCorrect: Airport 1 city"), 0, 9)


@pytest.fixture
def stored(spec: Path, recorded: Path) -> list[str]:
    """Return settings of a run that learns from the recorded groups."""
    folder = train(load(spec, ["train.steps=1", "train.evaluate_every=0", "name=played"])).folder
    (folder / "trajectories" / "step_1.jsonl").write_bytes(recorded.read_bytes())
    return [f"train.source={{type: stored, run: {folder}}}", "train.evaluate_every=0", "train.questions=4"]


def test_a_run_records_it_and_learns_the_same(spec: Path, stored: list[str]) -> None:
    runs = {}
    for every in (2, 0):
        made = load(spec, [*stored, f"name=every_{every}", "train.steps=4", f"monitors.labels_every={every}"])
        runs[every] = train(made).folder
    lines = [json.loads(line) for line in (runs[2] / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "train" in line]
    assert [("labels" in line, "distill/label_effect" in line["train"]) for line in steps] == [
        (True, True), (False, False), (True, True), (False, False),
    ]  # fmt: skip
    first = steps[0]["labels"]["distill"]
    assert len(first) == 3
    value = sum(total for total, _ in first) / sum(count for _, count in first)
    assert steps[0]["train"]["distill/label_effect"] == pytest.approx(value)
    one, other = (load_file(runs[e] / "checkpoints" / "step_4" / "model.safetensors") for e in (2, 0))
    assert all(one[key].equal(other[key]) for key in one)


def test_hints_tell_figures_of_the_texts_that_terms_and_credits_are_given(recorded: Path) -> None:
    groups = list(read_groups(recorded))
    hint = Hindsight(labels="shuffled", max_words=9)
    objective = Objective(credit=[LogRatio(hint=hint)], terms=[ClippedPG(), Distill(hint=hint)])
    found = hint_figures(groups, objective, 0, term_seed=3, credit_seed=4)
    assert found == {
        f"{name}/{figure}": hint.figures(groups, seed)[figure]
        for name, seed in (("distill", 3), ("log_ratio", 4))
        for figure in ("labels_true", "hints_cut")
    }
    assert found["distill/labels_true"][1] == 9, "three groups of three; in the last there is nothing to shuffle"


def test_a_run_records_how_many_shuffled_labels_stay_true(spec: Path, stored: list[str]) -> None:
    """As it is in the blocks that it has kept: the first attempt of each group is the right one."""
    word = "objective.terms.1.hint={type: hindsight, labels: shuffled}"
    folder = train(load(spec, [*stored, word, "name=shuffled", "train.steps=2"])).folder
    run, shares = Run.open(folder), []
    for step in (1, 2):
        texts = {line.trajectory: line.text for line in run.hints(step)}
        told = [[line.startswith("Correct") for line in texts[first].split("\n")[1:4]] for first in (0, 3, 6)]
        shares.append(sum(label == (i == 0) for labels in told for i, label in enumerate(labels)) / 9)
    recorded = [line["train"]["distill/labels_true"] for line in run.metrics() if "train" in line]
    assert recorded == pytest.approx(shares)
    assert "distill/hints_cut" not in next(line["train"] for line in run.metrics() if "train" in line)
