import time

import pytest

from sdsearch.retrieval import progress
from sdsearch.retrieval.progress import progress as shown


def test_a_line_comes_in_time_however_long_a_batch_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.05)
    with shown("embedding passages", 300, 100) as advance:
        time.sleep(0.3)
        advance(100)
        time.sleep(0.3)
        advance(100)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) >= 4
    assert lines[0].startswith("embedding passages: 100/300  0/s")
    assert any(line.startswith("embedding passages: 200/300") and " s to go" in line for line in lines)
    assert lines[-1].startswith("embedding passages: 300/300") and " s to go" not in lines[-1]
