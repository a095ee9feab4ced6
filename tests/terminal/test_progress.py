"""Progress: bars on a terminal, plain lines elsewhere."""

import io
import re
import time

from rich.console import Console

from sdsearch.terminal.progress import Bars


def test_plain_lines_off_a_terminal() -> None:
    out = io.StringIO()
    with Bars(Console(file=out, width=60)) as bars:
        task = bars.task("train", 3)
        for i in range(3):
            task.advance(note=f"loss {i}")
        bars.say("step 3: [done]")
    assert out.getvalue() == "train: 3/3  loss 2\nstep 3: [done]\n"


def test_bars_on_a_terminal() -> None:
    out = io.StringIO()
    with Bars(Console(file=out, width=80, force_terminal=True)) as bars:
        bars.task("train", 2).advance(2, note="reward 0.50")
    assert "reward 0.50" in out.getvalue()
    assert "2/2" in out.getvalue()


def test_it_says_where_it_is_though_nothing_advances() -> None:
    out = io.StringIO()
    with Bars(Console(file=out, width=60), beat=0.1) as bars:
        task = bars.task("evaluate", 9)
        task.advance(4)
        time.sleep(0.35)
    lines = out.getvalue().splitlines()
    assert 2 <= len(lines) <= 4
    assert all(re.fullmatch(r"evaluate: 4/9  after \d+ s", line) for line in lines)
