"""Progress: bars on a terminal, plain lines elsewhere."""

import io

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
