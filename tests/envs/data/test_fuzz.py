"""Damaged and hostile data files: read whole, read with every loss counted, or refused with our error.

Seeded; SDSEARCH_FUZZ says how many files (`make fuzz` tries many).
"""

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from sdsearch.contracts.data import Corpus, Dataset
from sdsearch.envs.data.reading.questions import Adapter
from sdsearch.errors import DataError
from sdsearch.testing import records

FILES = int(os.environ.get("SDSEARCH_FUZZ", "600"))
MAKERS = [maker for makers in records.LAYOUTS.values() for maker in makers]
HOSTILE = [
    "null", "NaN", "1e400", "-0.0", "1" * 5000, '""', '" "', "true", "[]", "{}", "[[]]", '[""]', "1995", '"[1, 2]"',
    '"[\'a\', \'b\']"', '"[\'a\' \'b\']"', '"[[[["', '"{\\"a\\": 1}"', '"\\ud800"', '"\\u0000"', '"\\u2028"', "[null]",
    '{"title": ["a"], "sentences": [["b"], ["c"]]}', '{"title": "a", "sent_id": 7}', '[["a"]]', "[[1, 2]]",
    '[["a", 3], 4]', '{"title": [], "sent_id": []}', '"#9 >> #1"', '[{"question": 3}]',
    '[{"question": "#0 #7", "answer": "x"}]',
    '"a<|answer_split|><|answer_split|>b"', "[" * 2000 + "]" * 2000,
    '"' + "[" * 2000 + '"', '"\\"a \\"\\"b\\"\\" c\\""',
]  # fmt: skip


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in a record, itself not."""
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [p for key, inner in items for p in ((*path, key), *leaves(inner, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], mark: str) -> Any:
    """Return a record with a mark at a path, or without what stands there."""
    head, *rest = path
    copy = dict(value) if isinstance(value, dict) else list(value)
    if rest:
        copy[head] = replaced(value[head], tuple(rest), mark)
    elif mark:
        copy[head] = mark
    else:
        del copy[head]
    return copy


def values_changed(dice: random.Random) -> bytes:
    """Return a file in which some values are others."""
    maker, lines = dice.choice(MAKERS), []
    for i in range(dice.randint(1, 6)):
        record: Any = maker(i)
        marks: list[str] = []
        for _ in range(dice.choice((0, 0, 1, 2))):
            if paths := leaves(record):
                marks.append(dice.choice(["", f"@{len(marks)}@"]))
                record = replaced(record, dice.choice(paths), marks[-1])
        text = json.dumps(record, ensure_ascii=dice.random() < 0.5)
        for mark in filter(None, marks):
            text = text.replace(f'"{mark}"', dice.choice(HOSTILE))
        lines.append(text)
    if dice.random() < 0.3:
        lines.append(dice.choice(lines))
    return (f"[{','.join(lines)}]" if dice.random() < 0.3 else dice.choice(("\n", "\r\n")).join(lines)).encode()


def bytes_changed(raw: bytes, dice: random.Random) -> bytes:
    """Return a file of which some bytes are others, missing, or there twice."""
    data = bytearray(raw)
    for _ in range(dice.randint(1, 4)):
        at, end = sorted(dice.choices(range(len(data) + 1), k=2))
        match dice.randrange(5):
            case 0:
                del data[at : at + dice.randint(1, 5)]
            case 1:
                data[at:at] = dice.choice([b"\x00", b"\xff", b'"', b"\n", b"{", b"]", b",", b"\xef\xbb\xbf", b"\\u"])
            case 2 if at < len(data):
                data[at] ^= 1 << dice.randrange(8)
            case 3:
                del data[end:]
            case _:
                data[end:end] = data[at : min(end, at + 200)]
    return bytes(data)


def as_csv(raw: bytes) -> bytes:
    """Return JSON Lines as something like CSV, which is only sometimes right."""
    return raw.replace(b"{", b"").replace(b"}", b"").replace(b": ", b",")


def some_file(dice: random.Random) -> tuple[str, bytes]:
    """Return a name and what is in the file."""
    raw = values_changed(dice)
    if dice.random() < 0.4:
        raw = bytes_changed(raw, dice)
    if dice.random() < 0.1:
        raw = raw.decode("utf-8", "replace").encode("utf-16")
    name = dice.choice(["set.jsonl", "set.json", "set", "set.csv"])
    if name == "set.csv":
        raw = as_csv(raw)
    if dice.random() < 0.2:
        raw = gzip.compress(raw, mtime=0)
        raw = bytes_changed(raw, dice) if dice.random() < 0.5 else raw
        name += ".gz"
    return name, raw


def test_a_file_is_read_with_every_loss_counted_or_refused(tmp_path: Path) -> None:
    outcomes = {"read": 0, "refused": 0, "dropped": 0}
    for seed in range(FILES):
        dice = random.Random(seed)
        name, raw = some_file(dice)
        path = tmp_path / f"{seed}-{name}"
        path.write_bytes(raw)
        types = ["auto", dice.choice([*records.LAYOUTS, "jsonl", "table"])]
        for settings in ({"type": kind, "path": path} for kind in types):
            try:
                outcome = looked_at(settings)
            except DataError as error:
                assert len(str(error)) < 2000, seed
                outcome = "refused"
            except Exception as error:
                raise AssertionError(f"file {seed} ({path}), {settings}: {raw[:300]!r}") from error
            outcomes[outcome] += 1
        try:
            found = TypeAdapter(Corpus).validate_python({"type": dice.choice(["auto", "jsonl", "table"]), "path": path})
            assert all(p.id and p.text for p in found.passages())
        except DataError:
            pass
        path.unlink()
    assert min(outcomes.values()) > FILES // 20, outcomes


def looked_at(settings: dict[str, Any]) -> str:
    """Read a file, hold what was read to what is promised, and return what became of it."""
    found = TypeAdapter(Dataset).validate_python(settings)
    assert isinstance(found, Adapter)
    reading = found.reading()
    assert reading.records == reading.usable + reading.dropped.total()
    assert reading.usable == len(reading.questions) == len({q.id for q in reading.questions})
    assert bool(reading.dropped) == ("dropped" in reading.remark)
    for q in reading.questions:
        texts = (q.id, q.text, *q.answers, *q.gold, q.kind, q.source, *(h.query for h in q.hops))
        assert all(isinstance(text, str) for text in texts)
        assert q.id and q.text.strip() and q.answers and all(a.strip() for a in q.answers)
        "".join(texts).encode()
        assert {h.passage for h in q.hops} <= {*q.gold, ""}
    if any(q.gold for q in reading.questions):
        pool = {p.id for p in found.paragraphs()}
        assert all(pool.issuperset(q.gold) for q in reading.questions)
    return "dropped" if reading.dropped else "read"


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    """A file of sound records in a random order, among damaged ones, gives the questions of the sound ones."""
    for seed in range(FILES // 20):
        dice = random.Random(seed)
        maker = dice.choice(MAKERS)
        sound = [maker(i) for i in range(6)]
        bad = dict.fromkeys(maker(9))
        (tmp_path / "sound.jsonl").write_text("".join(json.dumps(r) + "\n" for r in sound))
        mixed = [sound[0], *dice.sample([*sound[1:], bad], 6)]
        (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(r) + "\n" for r in mixed))
        read = TypeAdapter(Dataset).validate_python({"path": tmp_path / "sound.jsonl"}).questions()
        among = TypeAdapter(Dataset).validate_python({"path": tmp_path / "mixed.jsonl", "source": "sound"})
        assert isinstance(among, Adapter)
        by_text = {q.text: q for q in read}
        got = {q.text: q for q in among.questions()}
        assert got.keys() == by_text.keys()
        assert all(
            (got[t].answers, got[t].gold, got[t].hops) == (q.answers, q.gold, q.hops) for t, q in by_text.items()
        )
        assert among.reading().dropped.total() == 1
