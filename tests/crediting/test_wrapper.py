import pytest

from sdsearch.crediting.wrapper import rewarded
from sdsearch.testing import example_groups


def test_other_rewards_for_the_same_episodes() -> None:
    groups = example_groups()
    count = sum(len(g.kept) for g in groups)
    found = rewarded(groups, range(count))
    assert [t.reward for g in found for t in g.kept] == list(range(count))
    for old, new in zip(groups, found, strict=True):
        assert [t.tokens for t in new.trajectories] == [t.tokens for t in old.trajectories]
        assert [t.reward for t in new.trajectories if t.lost] == [t.reward for t in old.trajectories if t.lost]
    with pytest.raises(ValueError, match=f"got 1 rewards, expected one for each of {count} kept"):
        rewarded(groups, [1.0])
