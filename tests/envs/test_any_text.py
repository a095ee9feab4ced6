import pickle

from gymnasium.vector.utils import batch_space

from sdsearch.envs.any_text import AnyText


def test_every_string_is_in_and_nothing_else() -> None:
    space = AnyText()
    assert "" in space
    assert "日本語 <tag> \x00" in space
    assert b"bytes" not in space
    assert None not in space


def test_a_seed_fixes_the_samples() -> None:
    first, second = AnyText(seed=3), AnyText(seed=3)
    samples = [first.sample() for _ in range(20)]
    assert samples == [second.sample() for _ in range(20)]
    assert len(set(samples)) > 10
    assert all(s in first for s in samples)


def test_all_spaces_of_text_are_equal() -> None:
    assert AnyText(seed=1) == AnyText(seed=2)
    assert len({AnyText(), AnyText()}) == 1
    assert AnyText() != "AnyText()"
    assert repr(AnyText()) == "AnyText()"


def test_it_can_be_pickled_and_batched() -> None:
    space = AnyText(seed=5)
    assert pickle.loads(pickle.dumps(space)).sample() == space.sample()
    assert batch_space(space, 2).contains(("a", ""))
