"""Label effects of a run, put together: a deaf teacher is told of, once enough groups are measured."""

from sdsearch.core.statistics import ratio
from sdsearch.monitoring.labels import Labels, ends, pooled
from sdsearch.monitoring.limits import Monitors
from sdsearch.monitoring.monitor import Monitor


def line(*pairs: tuple[float, float], step: int = 1, **more: object) -> dict[str, object]:
    return {"step": step, "train": {}, "labels": {"distill": [list(pair) for pair in pairs]}, **more}


def test_steps_are_put_together() -> None:
    labels = Labels()
    labels.see({"distill": [(1.0, 2.0), (5.0, 2.0)]})
    labels.see({"distill": [(0.0, 4.0)], "log_ratio": [(1.0, 1.0)]})
    assert labels.groups["distill"] == [(1.0, 2.0), (5.0, 2.0), (0.0, 4.0)]
    assert pooled(labels.groups["distill"]) == ratio([1, 5, 0], [2, 2, 4])


def test_before_is_the_first_third_and_after_the_last() -> None:
    metrics = [line((n, 1.0), (n, 1.0)) for n in range(1, 7)]
    before, after, count = ends([{"step": 0, "evaluate": {}}, *metrics])["distill"]
    assert (before.value, after.value, count) == (1.5, 5.5, 12)
    assert ends([{"step": 1, "train": {}}]) == {}


def test_a_deaf_teacher_is_told_of_once() -> None:
    monitor = Monitor(Monitors())
    said = [monitor.check(line((0.5, 2.0), (-0.5, 2.0), (0.2, 2.0), (-0.2, 2.0), step=n)) for n in range(1, 13)]
    assert [len(notices) for notices in said] == [0] * 9 + [1, 0, 0]  # after 40 groups
    (notice,) = said[9]
    assert (notice.limit, notice.figure) == ("label_effect", "distill/label_effect")
    assert "over 40 groups" in notice.text
    assert "style" in notice.text


def test_one_that_hears_or_is_not_to_be_told_of_is_not() -> None:
    hears = [line((2.0, 2.0), (1.0, 2.0), (1.5, 2.0), (0.1, 2.0)) for _ in range(12)]
    deaf = [line((0.5, 2.0), (-0.5, 2.0)) for _ in range(30)]
    for limits, lines in ((Monitors(), hears), (Monitors(label_effect=None), deaf), (Monitors(label_effect=100), deaf)):
        monitor = Monitor(limits)
        assert not any(monitor.check(each) for each in lines)


def test_another_phase_begins_anew() -> None:
    monitor = Monitor(Monitors())
    pairs = ((0.5, 2.0), (-0.5, 2.0), (0.2, 2.0), (-0.2, 2.0))
    said = [monitor.check(line(*pairs, phase=1 + (n >= 6))) for n in range(15)]
    assert not any(said)
