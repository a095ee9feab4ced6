import errno
import os
from pathlib import Path

import pytest

from sdsearch.errors import IndexMismatch, IndexUnwritable
from sdsearch.retrieval import index
from sdsearch.retrieval.index import kept
from sdsearch.retrieval.opening import opening

FACTS: index.Facts = {"corpus": "c", "passages": 3}


def build(into: Path) -> None:
    (into / "deep").mkdir(exist_ok=True)
    (into / "rows").write_bytes(bytes(range(256)) * 40)
    (into / "deep" / "empty").write_bytes(b"")


def refused(into: Path) -> None:
    raise AssertionError("built again")


def test_it_is_built_once(tmp_path: Path) -> None:
    place = kept(tmp_path / "a" / "index", FACTS, build)
    assert kept(place, FACTS, refused) == place == tmp_path / "a" / "index"
    assert sorted(f.name for f in place.rglob("*") if f.is_file()) == ["empty", "index.json", "rows"]


def test_one_that_was_built_from_something_else_is_refused_and_stays(tmp_path: Path) -> None:
    place = kept(tmp_path / "index", FACTS, build)
    with pytest.raises(IndexMismatch, match="passages is 3, expected 4; seed is not stated, expected 1") as caught:
        kept(place, {"corpus": "c", "passages": 4, "seed": 1}, build)
    assert not {"delete", "move", "remove"} & set(str(caught.value).split())
    kept(place, FACTS, refused)


@pytest.mark.parametrize("at", [0, 5000, 10_239])
def test_any_flipped_bit_is_seen(tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "BLOCK", 1000)
    place = kept(tmp_path / "index", FACTS, build)
    whole = bytearray((place / "rows").read_bytes())
    whole[at] ^= 1
    (place / "rows").write_bytes(whole)
    assert index.look(place, FACTS) == f"rows is not as it was written, near byte {at // 1000 * 1000:,}"
    kept(place, FACTS, build)
    assert index.look(place, FACTS) == ""


def test_of_a_large_one_a_sample_is_compared_and_all_of_it_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "BLOCK", 10)
    monkeypatch.setattr(index, "LARGE", 100)
    monkeypatch.setattr(index, "SAMPLE", 4)
    place = kept(tmp_path / "index", FACTS, build)
    whole = bytearray((place / "rows").read_bytes())
    whole[5003] ^= 1
    (place / "rows").write_bytes(whole)
    seen = sum(bool(index.look(place, FACTS)) for _ in range(200))
    assert seen < 30, "4 of 1,024 blocks are compared"
    with opening(whole=True):
        assert index.look(place, FACTS) == "rows is not as it was written, near byte 5,000"
    for at in (0, 10_239):
        whole = bytearray(bytes(range(256)) * 40)
        whole[at] ^= 1
        (place / "rows").write_bytes(whole)
        assert index.look(place, FACTS), "the first and the last always are"


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]\n" + b"0" * 64, b"\xff\n\xff"])
def test_what_says_what_it_is_may_be_damaged_too(tmp_path: Path, content: bytes) -> None:
    place = kept(tmp_path / "index", FACTS, build)
    (place / "index.json").write_bytes(content)
    assert index.look(place, FACTS).startswith("index.json: ")
    kept(place, FACTS, build)
    kept(place, FACTS, refused)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EROFS, "make the disk writable"),
        (errno.EACCES, "give permission to write there"),
        (errno.ENOTDIR, "choose another place, as something else lies there"),
        (errno.EBADMSG, "put right what it says"),
    ],
)
def test_a_disk_that_does_not_take_it(tmp_path: Path, code: int, advice: str) -> None:
    def full(into: Path) -> None:
        (into / "part").write_bytes(b"so far")
        raise OSError(code, os.strerror(code))

    with pytest.raises(IndexUnwritable, match=rf"index cannot be written \({os.strerror(code)}\): {advice}, or"):
        kept(tmp_path / "index", FACTS, full)
    assert not (tmp_path / "index").exists()
    seen: list[bytes] = []

    def further(into: Path) -> None:
        seen.append((into / "part").read_bytes())
        build(into)

    kept(tmp_path / "index", FACTS, further)
    assert seen == [b"so far"]
