"""From a file to records: JSON Lines, JSON, CSV, TSV and Parquet, told apart by what they hold and not by their names.

What is no such file, or is damaged, is a `DataError` with the line; nothing is skipped.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, cast

from sdsearch.config.discovery import remedy
from sdsearch.envs.data.reading.record import Record, named
from sdsearch.errors import DataError

Format = Literal["lines", "json", "csv", "parquet"]

NO_DATA = {
    b"PK\x03\x04": "a zip archive: unpack it and name the file in it",
    b"BZh": "compressed by bzip2: unpack it",
    b"\xfd7zXZ": "compressed by xz: unpack it",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it",
    b"ARROW1": "an Arrow file: save it as Parquet or JSON Lines",
    b"version https://git-lfs": "a pointer of Git LFS and not the file: `git lfs pull` fetches it",
    b"<": "a web page or XML: download the file itself",
}
"""How files begin that people have in place of their data, and what to do."""
BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
BLANK = re.compile(r"[ \t\r\n]*")
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
ROWS = ("data", "rows", "questions", "examples", "records", "items")
"""Under what a JSON object keeps its records; TriviaQA says `Data`."""


def records(path: Path, columns: Sequence[str] | None = None) -> Iterator[Record]:
    """Yield the records of a file; `columns` names those of a CSV file that has no line for it.

    Raises `DataError` when the file is missing, is none of the formats, or at the first place that is damaged.
    """
    match format_of(path):
        case "parquet":
            yield from _parquet(path)
        case "csv":
            yield from _csv(path, columns)
        case "lines":
            yield from _lines(path)
        case "json":
            yield from _document(path)


def format_of(path: Path) -> Format:
    """Return in what format a file is, from its beginning. Raises `DataError`."""
    if path.is_dir():
        raise DataError(f"got {path}, which is a folder, expected a file of it, such as *.parquet or *.jsonl")
    if not path.is_file():
        raise DataError(f"got {path}, which is no file, expected JSON Lines, JSON, CSV or Parquet")
    with readable(path), opened(path) as file:
        head = file.read(32)
        for magic, what in NO_DATA.items():
            if head.lstrip().startswith(magic):
                raise DataError(f"{path}: is {what}")
        if head.startswith(b"PAR1"):
            return "parquet"
        file.seek(0)
        text = _line(file, head)
        while text and not text.strip():
            text = _line(file, head)
        suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
        if suffix in (".csv", ".tsv"):
            return "csv"
        if suffix in (".jsonl", ".ndjson") and not text.startswith("[") and text.strip() != "{":
            return "lines"
        if text.lstrip().startswith("{") and _whole(text) and _line(file, head).strip():
            return "lines"
        return "json"


def plain_lines(path: Path) -> bool:
    """Say whether a file is JSON Lines as they are: not packed, in UTF-8. Raises `DataError`."""
    with path.open("rb") as file:
        head = file.read(2)
    return head not in BOMS and head != b"\x1f\x8b" and format_of(path) == "lines"


def _line(file: IO[bytes], head: bytes) -> str:
    return file.readline().decode(BOMS.get(head[:2], "utf-8-sig"), "replace")


def _whole(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what reading a damaged file raises into a `DataError`."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: got {error}, expected a file that can be read to its end") from error


def opened(path: Path) -> IO[bytes]:
    """Open a file, unpacked if it is compressed by gzip, whatever its name is."""
    with path.open("rb") as start:
        packed = start.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path)) if packed else path.open("rb")


def _lines(path: Path) -> Iterator[Record]:
    number = 0
    with readable(path), opened(path) as file:
        wide = BOMS.get(file.read(2))
        file.seek(0)
        lines: Iterator[bytes | str] = iter(_decoded(path, file.read(), wide).split("\n") if wide else file)
        for line, raw in enumerate(lines, 1):
            text = raw if isinstance(raw, str) else decoded_line(path, line, raw)
            if text.strip():
                number += 1
                yield line_record(path, line, number, text)


def decoded_line(path: Path, line: int, raw: bytes) -> str:
    """Return the text of a line. Raises `DataError`."""
    try:
        return raw.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{line}: got {raw[:60]!r} ({error}), expected a JSON object") from error


def line_record(path: Path, line: int, number: int, raw: bytes | str) -> Record:
    """Return the record of a line that is not blank. Raises `DataError`."""
    text = raw if isinstance(raw, str) else decoded_line(path, line, raw)
    try:
        value = json.loads(text)
        if SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{line}: got {raw[:60]!r} ({_reason(error)}), expected a JSON object") from error
    return _object(f"{path}:{line}", number, value, text)


def _reason(error: ValueError | RecursionError) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _object(place: str, number: int, value: Any, text: str) -> Record:
    if not isinstance(value, dict):
        raise DataError(f"{place}: got {text.strip()[:60]}, expected a JSON object")
    return Record(place, number, value)


def _decoded(path: Path, raw: bytes, encoding: str | None = None) -> str:
    try:
        return raw.decode(encoding or BOMS.get(raw[:2], "utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: got {error}, expected a text file in UTF-8: save it as one") from error


def _document(path: Path) -> Iterator[Record]:
    """Yield the objects of a JSON array, or of whatever else a JSON file keeps them in."""
    with readable(path), opened(path) as file:
        text = _decoded(path, file.read())
    scan = Scanner(path, text)
    if scan.peek() == "[":
        yield from scan.array()
        return
    values = list(scan.values())
    if len(values) != 1:
        yield from values
        return
    inner = _unwrapped(values[0].fields)
    if inner is None:
        yield values[0]
        return
    for number, value in enumerate(inner, 1):
        row = value.get("row") if isinstance(value, dict) and "row_idx" in value else value
        yield _object(f"{path}: record {number}", number, row, str(row))


class Scanner:
    """Reads one JSON value after the other from a text, without holding all of them, and knows the line."""

    def __init__(self, path: Path, text: str) -> None:
        """Stand at the beginning."""
        self.path, self.text, self.at, self.line, self.counted = path, text, 0, 1, 0
        self.decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """Return the next character that is not blank; "" at the end."""
        blank = BLANK.match(self.text, self.at)
        self.at = blank.end() if blank else self.at
        return self.text[self.at : self.at + 1]

    def place(self) -> str:
        """Return file and line."""
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return f"{self.path}:{self.line}"

    def value(self, number: int) -> Record:
        """Read an object. Raises `DataError`."""
        self.peek()
        place, start = self.place(), self.at
        place = f"{place} (record {number})" if number else place
        try:
            value, self.at = self.decode(self.text, start)
            text = self.text[start : self.at]
            if SURROGATE.search(text):
                json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", _reason(error))
            cut = (
                "; the file ends there: is it whole?"
                if len(self.text) - start < 100 or "Unterminated" in reason
                else ""
            )
            raise DataError(f"{place}: got {self.text[start : start + 60]!r} ({reason}), expected JSON{cut}") from error
        return _object(place, number, value, text)

    def values(self) -> Iterator[Record]:
        """Yield objects that stand one after the other."""
        number = 0
        while self.peek():
            number += 1
            yield self.value(number)

    def array(self) -> Iterator[Record]:
        """Yield the objects of an array."""
        self.at, number = self.at + 1, 0
        if self.peek() == "]":
            self.at += 1
        else:
            while True:
                number += 1
                yield self.value(number)
                mark = self.peek()
                self.at += 1
                if mark == "]":
                    break
                if mark != ",":
                    got = repr(mark) if mark else "the end of the file"
                    raise DataError(f"{self.place()}: got {got} after record {number}, expected a comma or the end ]")
        if self.peek():
            raise DataError(
                f"{self.place()}: got {self.text[self.at : self.at + 60]!r} after the array, expected nothing"
            )


def _unwrapped(document: Mapping[str, Any]) -> list[Any] | None:
    """Return the records that an object holds in a list or in columns; None: it is a record itself."""
    if any(isinstance(document.get(name), str) for name in ("question", "Question", "contents", "text")):
        return None
    lists = {key: value for key, value in document.items() if isinstance(value, list)}
    named = [value for key, value in lists.items() if key.lower() in ROWS]
    alone = [value for value in lists.values() if value and isinstance(value[0], dict)]
    if len(named) == 1 or len(alone) == 1:
        return (named or alone)[0]
    columns = {k: list(v.values()) if isinstance(v, dict) else v for k, v in document.items()}
    if "question" in columns and all(isinstance(column, list) for column in columns.values()):
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=False)]
    return None


def _csv(path: Path, columns: Sequence[str] | None) -> Iterator[Record]:
    with readable(path), opened(path) as file:
        wide = BOMS.get(file.read(2), "utf-8-sig")
        file.seek(0)
        text = io.TextIOWrapper(file, wide, newline="")
        place = f"{path}:1"
        try:
            start = text.readline()
            text.seek(0)
            delimiter = "\t" if "\t" in start else max(",;", key=start.count)
            reader = csv.reader(text, delimiter=delimiter, strict=True)
            names = list(columns or [name.strip() for name in next(reader, [])])
            if len(set(names)) != len(names) or not all(names):
                raise DataError(f"{place}: got the columns {named(names)}, expected a name for each")
            for number, row in enumerate((row for row in reader if any(cell.strip() for cell in row)), 1):
                place = f"{path}:{reader.line_num}"
                if len(row) != len(names):
                    raise DataError(f"{place}: got {len(row)} cells, expected {len(names)}: {named(names)}")
                yield Record(place, number, dict(zip(names, row, strict=True)))
        except UnicodeDecodeError as error:
            raise DataError(f"{place} or below: got {error}, expected a text file in UTF-8: save it as one") from error
        except csv.Error as error:
            raise DataError(f"{place} or below: got {error}, expected CSV") from error


def _parquet(path: Path) -> Iterator[Record]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise DataError(
            f"{path}: is Parquet, which needs the package pyarrow, which is not installed: {remedy('pyarrow')}"
        ) from error
    number = 0
    with readable(path):
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=1000):
                    for fields in batch.to_pylist():
                        number += 1
                        yield Record(f"{path}: row {number}", number, fields)
        except (pyarrow.ArrowException, UnicodeDecodeError) as error:
            raise DataError(f"{path}: got {error} after row {number}, expected Parquet") from error
