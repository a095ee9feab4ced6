"""One update: micro-batches within a budget, groups kept together, and processes that add up to one."""

import torch

from sdsearch.core.tokens import TokenTable
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.learner import over
from sdsearch.learning.loss import StepLoss
from sdsearch.policy.batching import table_batches
from sdsearch.spec import Objective
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
    assert over([first]) == first, "of one update there is no last"
    assert over([{"loss": 2.0}]) == {"loss": 2.0}
    stale = over([first, last], sampled=False)
    assert (stale["stale_mean"], stale["stale_max"], stale["stale_share"]) == (0.0, 0.1, 1.0)
    assert stale["drift_mean_last"] == 0.4
    assert "drift_mean" not in stale
