"""One update: micro-batches within a budget, groups kept together, and processes that add up to one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from sdsearch.core.tokens import TokenTable
from sdsearch.core.usage import Clock
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.learner import Learner, elsewhere, over
from sdsearch.learning.loss import StepLoss
from sdsearch.learning.processes import Processes
from sdsearch.learning.teachers import score
from sdsearch.policy.batching import table_batches
from sdsearch.policy.logprobs import entropy
from sdsearch.spec import Objective, load
from sdsearch.testing import example_groups

OBJECTIVE = {"credit": [{"type": "leave_one_out"}], "terms": [{"type": "clipped_pg"}]}


def test_batches_hold_each_needed_row_once_and_keep_to_the_budget() -> None:
    objective = Objective.model_validate(OBJECTIVE)
    groups = example_groups()
    table = TokenTable.build(groups, step_advantages(objective.credit, groups).values)
    step_loss = StepLoss.of(table, objective.terms, 0, 0)
    for budget in (1, 20, 40, 10_000):
        parts = table_batches(table, step_loss.needed, budget)
        rows = torch.cat(parts)
        assert sorted(rows.tolist()) == step_loss.needed.nonzero()[:, 0].tolist()
        for part in parts:
            lengths = [p[-1] + 1 for p in table.at(part).positions().values()]
            assert len(lengths) == 1 or len(lengths) * max(lengths) <= budget


def test_what_watches_and_teaches_is_counted_apart() -> None:
    clock = Clock()
    assert elsewhere(clock) == 0
    clock.seconds |= {"score": 2.0, "monitor": 3.0, "train": 9.0}
    assert elsewhere(clock) == 5


def test_a_critic_is_made_where_it_is_asked_for(spec: Path) -> None:
    experiment, alone = load(spec), Processes(Accelerator(cpu=True))
    assert Learner(experiment, alone).critic is None
    assert Learner(experiment, alone, frozenset({"critic"})).critic is not None
    learner = Learner(load(spec, ["objective.credit=[gae]"]), alone)
    assert learner.holders.keys() == {"optimizer", "teachers", "critic"}
    assert learner.version == 0


def test_an_update_is_made_without_dropout(spec: Path) -> None:
    """A model that has some: the second update of weights that hardly move finds the ratios 1, and so does a critic."""
    config = spec.parent / "model" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "attention_dropout": 0.5}))
    experiment = load(spec, ["train.learning_rate=1e-12", "train.critic_learning_rate=1e-12"])
    learner = Learner(experiment, Processes(Accelerator(cpu=True)), frozenset({"critic"}))
    groups = example_groups()
    assert learner.policy.model.config.attention_dropout == 0.5
    assert learner.critic is not None
    table = TokenTable.build(groups, [np.ones(t.sampled) for g in groups for t in g.kept])
    modes: list[bool] = []
    for model in (learner.policy.decoder, learner.critic.twin.decoder):
        model.register_forward_pre_hook(lambda model, _: modes.append(model.training))
    first, second = (learner.update(table, experiment.stages[0], 0, Clock(), first=first) for first in (True, False))
    assert first["clipped_pg/log_ratio"] == 0
    assert 0 <= second["clipped_pg/log_ratio"] < 1e-5
    targets = [np.ones(t.sampled) for g in groups for t in g.kept]
    errors = [learner.critic.learn(groups, targets, 10_000) for _ in range(2)]
    assert errors[0] == pytest.approx(errors[1], abs=1e-6)
    learner.policy.model.train()
    learner.update(table, experiment.stages[0], 0, Clock(), first=False)
    assert set(modes) == {False}


def test_an_update_moves_the_version(spec: Path) -> None:
    experiment = load(spec)
    learner = Learner(experiment, Processes(Accelerator(cpu=True)))
    groups = example_groups()
    table = TokenTable.build(groups, [np.zeros(t.sampled) for g in groups for t in g.kept])
    objective = Objective.model_validate({"credit": [], "terms": ["entropy"]})
    stage = experiment.stages[0]._replace(objective=objective)
    for step in range(3):
        learner.update(table, stage, step, Clock())
    assert learner.version == 3


def test_figures_add_up_over_micro_batches(spec: Path) -> None:
    """Attempts of 8 and 4 tokens, each of which counts the same in the mean, however they are cut."""
    found = []
    for budget in (1, 10_000):
        experiment = load(spec, [f"train.tokens_per_batch={budget}"])
        learner = Learner(experiment, Processes(Accelerator(cpu=True)))
        groups = example_groups()[1:2]
        table = TokenTable.build(groups, [np.zeros(t.sampled) for t in groups[0].kept])
        with torch.no_grad():
            expected = -entropy(score(learner.policy, table)).mean().item()
        stage = experiment.stages[0]._replace(objective=Objective.model_validate({"credit": [], "terms": ["entropy"]}))
        figures = learner.update(table, stage, 0, Clock())
        assert figures["entropy/rows"] == 12
        assert figures["loss"] == figures["entropy/loss"] == pytest.approx(expected, rel=1e-5)
        found.append(figures)
    assert found[0] == pytest.approx(found[1], rel=1e-4, abs=1e-6)


def test_several_updates_of_a_step() -> None:
    first = {"loss": 3.0, "drift_mean": 0.0, "drift_max": 0.1, "effective_share": 1.0, "grad_norm/kl": 7.0}
    last = {"loss": 1.0, "drift_mean": 0.4, "drift_max": 0.9, "effective_share": 0.6}
    assert over([first, {**last, "loss": 5.0}, last]) == {
        "loss": 3.0,
        "drift_mean": 0.0,
        "drift_max": 0.1,
        "effective_share": 1.0,
        "grad_norm/kl": 7.0,
        "drift_mean_last": 0.4,
        "drift_max_last": 0.9,
        "effective_share_last": 0.6,
    }
    tenths = [{"learning_rate": 0.1}] * 3  # whose mean is 0.10000000000000002
    assert over(tenths) == {"learning_rate": 0.1}
    assert over([first]) == first, "of one update there is no last"
    assert over([{"loss": 2.0}]) == {"loss": 2.0}
    stale = over([first, last], sampled=False)
    assert (stale["stale_mean"], stale["stale_max"], stale["stale_share"]) == (0.0, 0.1, 1.0)
    assert stale["drift_mean_last"] == 0.4
    assert "drift_mean" not in stale
