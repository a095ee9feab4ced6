"""Files that make up a spec, and files that cannot."""

from pathlib import Path

import pytest

from sdsearch.config.load import read
from sdsearch.errors import SpecError


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def told(name: str, content: bytes | None = None) -> str:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(SpecError) as caught:
            read(tmp_path / name, [])
        return str(caught.value).replace(f"{tmp_path}/", "")

    assert told("none.yaml") == "none.yaml: cannot be read: No such file or directory"
    assert told("") == f"{tmp_path}: cannot be read: Is a directory, expected a YAML file"
    assert told("latin.yaml", "name: Łódź".encode("utf-16")) == (
        "latin.yaml:1:1: byte 0 (0xff) is not UTF-8, expected a text file"
    )
    assert told("empty.yaml", b"") == (
        "empty.yaml:1:1: got nothing, expected a mapping of sections such as `data: ...`"
    )
    assert told("comment.yaml", b"# nothing\n").startswith("comment.yaml:1:1: got nothing")
    assert told("late.yaml", b"a: 1\nb: \xc3\xa9\xff") == (
        "late.yaml:2:5: byte 10 (0xff) is not UTF-8, expected a text file"
    )
    assert told("emptyy.yaml") == 'emptyy.yaml: cannot be read: No such file or directory; did you mean "empty"?'
    assert told("list.yaml", b"\n- 1\n") == (
        "list.yaml:2:1: got a list of 1, expected a mapping of sections such as `data: ...`"
    )
    assert told("large.yaml", b" " * (2**18 + 1)) == (
        "large.yaml: larger than 262144 bytes, expected 262144 at most of a spec and its bases"
    )
    assert told("base.yaml", b"base: [x]\n") == "base.yaml:1:7: base: got a list of 1, expected the path of a spec"
    assert told("lost.yaml", b"base: gone.yaml\n") == (
        "lost.yaml:1:1: base: gone.yaml: cannot be read: No such file or directory"
    )
    (tmp_path / "one.yaml").write_text("base: two.yaml")
    assert told("two.yaml", b"base: one.yaml").endswith("two.yaml: is based on itself, or on more than 8 others")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes("name: Łódź".encode("utf-8-sig"))
    assert read(tmp_path / "x.yaml", []).plain() == {"name": "Łódź"}
