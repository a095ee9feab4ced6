"""Specs that make no sense are refused with the reason."""

import pytest

from sdsearch.config.catalogue import SPECS
from sdsearch.errors import SpecError
from sdsearch.spec import load

ALONE = "train.group is 1, so that no rollout has others to be compared with"
CRITICS = "the credits gae, gae would all teach the one critic"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.group=1"], rf"objective\.credit\[0\]: group_mean: {ALONE}"),
        (["train.group=1", "objective.credit=[leave_one_out]"], ALONE),
        (["train.group=1", "objective.credit=[{type: reinforce_pp, baseline: true}]"], ALONE),
        (["train.group=1", "objective.credit=[overlong]"], f"overlong: {ALONE}"),
        (["train.group=1", "objective.credit=[shuffled_reward]"], f"shuffled_reward: {ALONE}"),
        (
            ["train={group: 1, source: {filter: mixed}}", "objective.credit=[constant]"],
            rf"train\.source\.filter: mixed: {ALONE}",
        ),
        (["train={group: 1, rollouts: {type: critical, initial: 1}}"], ALONE),
        (["train={group: 1, rollouts: {type: tree, trees: 1}}"], ALONE),
        (["objective.credit=[gae, gae]"], CRITICS),
        *(
            (
                [f"objective.credit=[{{type: {wrapper}, of: {of}}}]"],
                f"{wrapper}: got of: {of.strip('{}')}, which does not go by",
            )
            for wrapper in ("shuffled_reward", "overlong")
            for of in ("igpo", "gold_passage", "step_search", "log_ratio", "constant", "random", "vine")
        ),
        (["objective.credit=[{type: overlong, of: {type: broadcast, of: igpo}}]"], "got of: broadcast, which does not"),
        (["objective.terms=[entropy]"], r"objective\.credit: no term heeds it"),
        (
            ["objective.credit=[{type: hcapo, clip: [1.2, 0.8]}]"],
            r"got clip: \[1.2, 0.8\], expected the lower",
        ),
        *(
            (["train.group=1", "objective.credit=[]", f"objective.terms=[{{type: distill, {settings}}}]"], ALONE)
            for settings in ("hint: gold_answer, gate: mixed", "hint: {type: hindsight, include_self: others}")
        ),
        (["train.questions=1", "objective.terms=[{type: distill, hint: placebo}]"], "distill: train.questions is 1"),
        *(
            (
                ["objective.credit=[]", f"objective.terms=[{term}]", "train.epochs=2"],
                f"{term}: objective.credit is",
            )
            for term in ("clipped_pg", "gspo", "cispo", "llds")
        ),
        (["objective.terms=[clipped_pg, llds]"], r"terms\[1\]: llds: train.epochs is 1"),
    ],
)
def test_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load(SPECS / "grpo.yaml", overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.group=1", "objective.credit=[gae]"],
        ["train.group=1", "objective.credit=[reinforce_pp]"],
        ["objective.credit=[{type: shuffled_reward, of: {type: igpo, outcome: reward}}]"],
        ["objective.credit=[{type: broadcast, of: vine}]"],
        ["objective.credit=[gae, group_mean]"],
        ["objective.credit=[]", "objective.terms=[entropy]"],
        ["objective.terms=[clipped_pg, llds]", "train.epochs=2"],
        ["train={group: 4, rollouts: {type: critical, initial: 4}}", "objective.credit=[carl]"],
        ["train={group: 2, source: {filter: mixed}}"],
        *(
            ["train.group=1", "objective.credit=[]", f"objective.terms=[{{type: distill, hint: {hint}}}]"]
            for hint in ("gold_answer", "{type: hindsight, include_self: all}")
        ),
    ],
)
def test_accepted(overrides: list[str]) -> None:
    assert load(SPECS / "grpo.yaml", overrides).untrainable is None
