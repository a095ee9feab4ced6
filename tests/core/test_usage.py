import time

from sdsearch.core.usage import Clock


def test_a_part_around_others_has_what_they_leave() -> None:
    clock = Clock()
    with clock.timing("score"):
        time.sleep(0.05)
    before = clock.seconds["score"]
    since = time.perf_counter()
    with clock.around("credit"):
        time.sleep(0.05)
        with clock.timing("score"):
            time.sleep(0.2)
    whole = time.perf_counter() - since
    inside = clock.seconds["score"] - before
    assert inside >= 0.2
    assert 0.05 <= clock.seconds["credit"] <= whole - inside + 1e-3
