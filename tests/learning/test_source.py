"""Where groups come from: played, topped up with mixed ones, or read back; and phases that take turns."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sdsearch.contracts.rollouts import Collector
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Fork, Group, read_groups, write_groups
from sdsearch.errors import CheckpointError, DataError, RetrieverUnavailable, SpecError
from sdsearch.learning.run_probe import opened
from sdsearch.learning.source import Batch, Played
from sdsearch.learning.train import train
from sdsearch.learning.trainer import Trainer
from sdsearch.objectives.rollouts.independent import Independent
from sdsearch.policy.policy import Policy
from sdsearch.rollout.collect import EpisodeCollector
from sdsearch.spec import Source, load
from sdsearch.testing import example_trajectory


class Told:
    """A collector whose groups are mixed where the question's id says so."""

    group, seed = 2, 0

    def __init__(self, lots: Sequence[Sequence[str]]) -> None:
        self.lots, self.asked = lots, list[str]()
        self.questions: Sequence[Question] = self.more(0)

    def more(self, lot: int) -> list[Question]:
        return [Question(i, "?", ("a",)) for i in self.lots[lot]] if lot < len(self.lots) else []

    def collect(self, questions: Sequence[Question], group: int) -> list[Group]:
        self.asked += [q.id for q in questions]
        return [
            Group(
                q, tuple(example_trajectory(q, [("answer", "a")], r) for r in ((0.0, 1.0) if "m" in q.id else (1, 1)))
            )
            for q in questions
        ]

    def continue_from(self, forks: Sequence[Fork], k: int, greedy: bool = False) -> list[Group]:
        raise NotImplementedError


def played(collector: Collector, **settings: Any) -> Batch:
    """Return a batch of the groups that a collector plays."""
    source = Played(Source(**settings), Independent(), lambda _: collector)  # type: ignore[arg-type,return-value]
    return source.batch(0)


def ids(batch: Batch) -> list[str]:
    """Return the questions of a batch."""
    return [g.question.id for g in batch.groups]


LOTS = (("a", "m1", "b"), ("c", "m2"), ("m3", "m4"), ("m5",))


def test_played_groups_are_those_of_the_questions() -> None:
    collector = Told(LOTS)
    assert ids(played(collector)) == ["a", "m1", "b"]
    assert collector.asked == ["a", "m1", "b"]


def test_mixed_groups_are_asked_for_until_there_are_enough() -> None:
    collector = Told(LOTS)
    assert ids(played(collector, filter="mixed", rounds=9)) == ["m1", "m2", "m3"]
    assert collector.asked == ["a", "m1", "b", "c", "m2", "m3", "m4"], "the fourth lot is not needed"


def test_what_does_not_pass_is_not_forgotten() -> None:
    """A retriever that is down in groups which the filter drops is down all the same."""
    batch = played(Told(LOTS), filter="mixed", rounds=9)
    assert [g.question.id for g in batch.dropped] == ["m4", "a", "b", "c"]
    assert list(played(Told(LOTS)).dropped) == []


def test_groups_alike_fill_up_when_the_rounds_are_over() -> None:
    assert ids(played(Told(LOTS), filter="mixed", rounds=2)) == ["m1", "m2", "a"]
    assert ids(played(Told(LOTS[:1]), filter="mixed", rounds=9)) == ["m1", "a", "b"]


def test_a_lost_episode_is_no_contrast() -> None:
    question = Question("q", "?", ("a",))
    lost = example_trajectory(question, [("search", "x")], 0.0, lost=True)
    kept = example_trajectory(question, [("answer", "a")], 1.0)
    assert not Group(question, (kept, lost)).mixed
    assert Group(question, (kept, example_trajectory(question, [("answer", "b")], 0.0))).mixed


def versions(folder: Path, name: str) -> set[int]:
    """Return the versions of the policy that wrote some stored trajectories."""
    stored = read_groups(folder / "trajectories" / f"{name}.jsonl")
    return {turn.version for g in stored for t in g.trajectories for turn in t.turns}


def test_who_samples_follows_the_weights(spec: Path, phased: Path) -> None:
    played = train(load(spec, [*QUIET, "train.steps=3", "train.epochs=2", "train.evaluate_every=2"])).folder
    assert [versions(played, f"step_{step}") for step in (1, 2, 3)] == [{0}, {2}, {4}]
    assert [versions(played, f"evaluate_{step}") for step in (0, 2, 3)] == [{0}, {4}, {6}]
    # Nobody plays in the second phase, but an evaluation is of the weights that there are.
    folder = train(load(phased)).folder
    assert [versions(folder, f"evaluate_{step}") for step in (0, 2, 5)] == [{0}, {2}, {5}]


def weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    """Return the weights of a checkpoint of a run."""
    return load_file(folder / "checkpoints" / f"step_{step}" / "model.safetensors")


def metrics(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Return a run's lines of a kind."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if kind in line]


def groups(folder: Path, step: int) -> list[Group]:
    """Return the groups of a training step."""
    return list(read_groups(folder / "trajectories" / f"step_{step}.jsonl"))


QUIET = ["train.evaluate_every=0", "evaluate.questions=1", "train.keep_checkpoints=9"]


def test_stored_groups_teach_what_they_taught_when_they_were_played(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(load(spec, [*QUIET, "name=first", "train.steps=2"])).folder
    never = "played though its groups are stored"
    monkeypatch.setattr(EpisodeCollector, "collect", lambda *_: pytest.fail(never))
    again = train(load(spec, [*QUIET, "name=again", "train.steps=3", source(first)])).folder
    assert [groups(again, s) for s in (1, 2, 3)] == [groups(first, s) for s in (1, 2, 1)]
    for step in (1, 2):
        played, learned = weights(first, step), weights(again, step)
        assert all(torch.equal(played[k], learned[k]) for k in played)
    (_, one), (_, two) = ([(m["step"], m["train"]) for m in metrics(folder, "train")][:2] for folder in (first, again))
    assert one[1]["loss"] == two[1]["loss"]
    assert "drift_mean" in one[1]
    assert "stale_mean" in two[1], "a distance to another policy is no disagreement of sampler and learner"
    assert "drift_mean" not in two[1]
    assert [m["spent"]["rollouts"] for m in metrics(again, "train")] == [0.0] * 3


def source(folder: Path, **more: Any) -> str:
    """Return an override that reads groups back from a run."""
    return f"train.source={json.dumps({'type': 'stored', 'run': str(folder), **more})}"


def test_a_run_goes_on_with_the_groups_that_it_began_with(spec: Path) -> None:
    first = train(load(spec, [*QUIET, "name=first", "train.steps=1"])).folder
    changes = [*QUIET, "name=again", source(first)]
    train(load(spec, [*changes, "train.steps=1"]))
    train(load(spec, [*changes, "train.steps=2"]), resume=True)
    path = first / "trajectories" / "step_1.jsonl"
    path.write_text(path.read_text().replace('"stop_reason": "', '"stop_reason": "x'))
    with pytest.raises(CheckpointError, match=r"`train\.source\.run` held something else when"):
        train(load(spec, [*changes, "train.steps=3"]), resume=True)


def test_a_filter_of_stored_groups(spec: Path) -> None:
    first = train(load(spec, [*QUIET, "name=first", "train.steps=2"])).folder
    kept = next(g for g in groups(first, 1) if g.kept)
    changed = [
        Group(
            g.question,
            tuple(t if i else t.__class__(**{**fields(t), "reward": 1.0}) for i, t in enumerate(g.trajectories)),
        )
        for g in (kept,)
    ]
    write_groups(first / "trajectories" / "step_2.jsonl", changed)
    again = train(load(spec, [*QUIET, "name=again", "train.steps=1", source(first, filter="mixed")])).folder
    assert groups(again, 1) == changed * 2, "two questions a step, and one group that passes"
    write_groups(first / "trajectories" / "step_2.jsonl", groups(first, 1))
    with pytest.raises(DataError, match="holds no group that passes `filter: mixed`"):
        train(load(spec, [*QUIET, "name=none", "train.steps=1", source(first, filter="mixed")]))


def fields(trajectory: Any) -> dict[str, Any]:
    """Return the fields of a trajectory."""
    return {name: getattr(trajectory, name) for name in trajectory.__dataclass_fields__}


def test_a_run_of_another_tokeniser_is_refused(spec: Path, tmp_path: Path) -> None:
    first = train(load(spec, [*QUIET, "name=first", "train.steps=1"])).folder
    from sdsearch.warmstart.command import build
    from sdsearch.warmstart.spec import Shape

    shape = Shape(layers=2, width=32, heads=4, feed_forward=64, vocabulary=420, context=512)
    other: Policy = build(shape, ["Wholly other words make wholly other tokens of the same letters."] * 50)
    other.model.save_pretrained(tmp_path / "other")
    other.codec.tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(DataError, match=r"step 1: question '\d': the tokens of a prompt are not those of `model`"):
        train(load(spec, [*QUIET, "name=again", "train.steps=1", source(first), f"model.name={tmp_path / 'other'}"]))
    assert not (first.parents[1] / "again" / "0").exists(), "what cannot be learned from leaves no run"


def test_a_source_without_its_run(spec: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path / 'nowhere'} holds no run"):
        train(load(spec, [source(tmp_path / "nowhere")]))
    with pytest.raises(SpecError, match=r"train\.source: got `stored` without `run`, and there is no earlier phase"):
        load(spec, ["train.source.type=stored"])
    with pytest.raises(SpecError, match=r"train\.source: .*`run` is given and nothing is read from it"):
        load(spec, [f"train.source.run={tmp_path}"])


def test_groups_without_tokens_are_refused(spec: Path) -> None:
    first = train(load(spec, [*QUIET, "name=first", "train.steps=1"])).folder
    path = first / "trajectories" / "step_1.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        for trajectory in line["trajectories"]:
            for segment in trajectory["segments"]:
                segment |= {"tokens": [], "logprobs": [], "spans": []}
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match="got a prompt without tokens, expected what a policy has recorded"):
        train(load(spec, [*QUIET, "name=again", source(first)]))


PHASES = """
base: small.yaml
name: phased
objective: null
train:
  steps: null
  questions: 2
  group: 3
  learning_rate: 0.01
  checkpoint_every: 1
  keep_checkpoints: 9
  evaluate_every: 0
  phases:
    - {steps: 2, objective: {credit: [small_parts.by_token], terms: [clipped_pg]}}
    - steps: 3
      source: {type: stored}
      objective: {terms: [{type: distill, hint: {type: hindsight}, rows: policy, weight: {from_step: 1}}]}
"""


@pytest.fixture
def phased(spec: Path) -> Path:
    """Return a spec of two phases: play and follow the reward, then distil what was played."""
    path = spec.with_name("phased.yaml")
    path.write_text(PHASES)
    return path


def test_phases_have_objectives_and_sources_of_their_own(phased: Path) -> None:
    experiment = load(phased)
    assert experiment.steps == 5
    assert [(s.number, s.first, s.last) for s in experiment.stages] == [(1, 0, 2), (2, 2, 5)]
    assert [experiment.stage(step).number for step in (0, 1, 2, 4, 5, 9)] == [1, 1, 2, 2, 2, 2]
    folder = train(experiment).folder
    lines = metrics(folder, "train")
    assert [line["phase"] for line in lines] == [1, 1, 2, 2, 2]
    assert [line["spent"]["rollouts"] for line in lines] == [6.0, 12.0, 12.0, 12.0, 12.0]
    assert [groups(folder, step) for step in (3, 4, 5)] == [groups(folder, step) for step in (1, 2, 1)]
    terms = [sorted({n.split("/")[0] for n in line["train"] if n.endswith("/rows")}) for line in lines]
    assert terms == [["clipped_pg"], ["clipped_pg"], [], ["distill"], ["distill"]], "schedules count from their phase"
    assert [m["step"] for m in metrics(folder, "evaluate")] == [0, 2, 5], "each phase is judged at its end"
    assert load(folder / "spec.yaml") == experiment.settled(1 << 14)
    checkpoints = {step: folder / "checkpoints" / f"step_{step}" / "about.json" for step in (2, 3, 5)}
    assert [json.loads(path.read_text())["phase"] for path in checkpoints.values()] == [1, 2, 2]


STEPPED = """
import numpy as np
from sdsearch.contracts.credit import Advantages, Credit
from sdsearch.core.trajectory import kept

class Stepped(Credit):
    def advantages(self, groups, probe):
        return Advantages([np.full(t.sampled, float(probe.step)) for t in kept(groups)])
"""


def test_credits_count_steps_from_their_phase_too(
    phased: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A credit of the number of its step is 0 in the first step of each phase alone."""
    (tmp_path / "stepped.py").write_text(STEPPED)
    monkeypatch.syspath_prepend(str(tmp_path))
    objective = "{credit: [{type: 'stepped:Stepped'}], terms: [clipped_pg]}"
    experiment = load(phased, [f"train.phases.{i}.objective={objective}" for i in range(2)])
    folder = train(experiment).folder
    assert [line["train"]["zero/stepped:Stepped"] for line in metrics(folder, "train")] == [1, 0, 1, 0, 0]
    for step, within in ((2, 2), (3, 1), (5, 3)):
        path = folder / "checkpoints" / f"step_{step}"
        asked = opened(experiment, frozenset(), lambda _: [], 0, path)
        assert (asked.collector.step, asked.step) == (step, within)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_run_of_phases_resumes_in_its_phase(phased: Path, step: int) -> None:
    straight = train(load(phased, ["name=straight"])).folder
    stopped = train(load(phased, ["name=stopped"])).folder
    for later in range(step + 1, 6):
        shutil.rmtree(stopped / "checkpoints" / f"step_{later}")
    train(load(phased, ["name=stopped"]), resume=True)
    expected, got = weights(straight, 5), weights(stopped, 5)
    assert all(torch.equal(expected[k], got[k]) for k in expected)
    drop = ("seconds", "retrieval", "spent")
    lines = [[{k: v for k, v in m.items() if k not in drop} for m in metrics(f, "train")] for f in (straight, stopped)]
    assert lines[0] == lines[1]


def test_a_phase_leaves_a_checkpoint_and_its_evaluation_is_made_up_for(
    phased: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, evaluated = load(phased, ["train.checkpoint_every=0"]), Trainer.evaluated

    def down(self: Trainer, step: int, last: bool) -> str:
        if step == 2:
            raise RetrieverUnavailable("nobody answers")
        return evaluated(self, step, last)

    with monkeypatch.context() as patch, pytest.raises(RetrieverUnavailable):
        patch.setattr(Trainer, "evaluated", down)
        train(experiment)
    assert [p.name for p in (experiment.folder / "checkpoints").iterdir()] == ["step_2"]
    folder = train(experiment, resume=True).folder
    assert [m["step"] for m in metrics(folder, "evaluate")] == [0, 2, 5]
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["step_2", "step_5"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["objective={terms: [entropy]}"], "objective: got this and `train.phases`"),
        (["train.steps=3"], "train.steps: got this and `train.phases`"),
        (["train.source={filter: mixed}"], "train.source: got this and `train.phases`"),
        (
            ["train.phases.0.source={type: stored}"],
            r"train\.phases\[0\]\.source: got `stored` without `run` in the first",
        ),
        (["train.phases.1.steps=0"], r"train\.phases\[1\]\.steps: got 0, expected at least 1"),
        (
            ["train.phases.1.objective.terms.0.weight={from_step: 3}"],
            r"train\.phases\[1\]\.objective\.terms\[0\]\.weight: distill: its weight is 0 in all 3 steps of this phase",
        ),
        (["train.phases=[]"], r"train\.phases: "),
        (["train.phases.0.objective.credit=[]"], r"train\.phases\[0\]\.objective\.terms\[0\]: clipped_pg: .* no rows"),
        (["train.group=1"], r"train\.phases"),
        (["train.phases.0.source={filter: mixed}", "train.group=1"], r"train\.phases\[0\]\.source\.filter: mixed: "),
    ],
)
def test_phases_that_do_not_fit(phased: Path, changes: list[str], said: str) -> None:
    if changes == ["train.group=1"]:
        changes = [*changes, "train.phases.0.objective.credit=[leave_one_out]"]
    with pytest.raises(SpecError, match=said):
        load(phased, changes)


def test_monitors_begin_anew_with_a_phase(phased: Path) -> None:
    from sdsearch.monitoring.limits import Monitors
    from sdsearch.monitoring.monitor import Monitor

    monitor = Monitor(Monitors(window=2))
    lines = [(1, 1.0)] * 3 + [(2, 40.0)] * 6
    norm = [{"phase": phase, "train": {"gradient_norm": value}} for phase, value in lines]
    assert [bool(monitor.check(line)) for line in norm] == [False] * 9, "a new objective has a norm of its own"
    flat = Monitor(Monitors(window=2))
    assert any(flat.check({"train": line["train"]}) for line in norm)
