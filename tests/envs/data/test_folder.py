"""A folder of documents as a corpus."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sdsearch.envs.data.folder import Folder
from sdsearch.envs.retrieval.bm25 import BM25
from sdsearch.errors import DataError
from sdsearch.testing import check_retriever


def pdf(*pages: str) -> bytes:
    """Write a PDF with a line of text on each page."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    parts = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
        about = "/Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >>"
        parts += [
            f"<< {about} /Contents {5 + 2 * i} 0 R >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    data, starts = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        starts.append(len(data))
        data += f"{number} 0 obj\n{part}\nendobj\n".encode()
    table = "".join(f"{start:010} 00000 n \n" for start in starts)
    tail = f"xref\n0 {len(parts) + 1}\n0000000000 65535 f \n{table}trailer\n<< /Size {len(parts) + 1} /Root 1 0 R >>\n"
    return data + f"{tail}startxref\n{len(data)}\n%%EOF\n".encode()


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    (tmp_path / "guides").mkdir()
    body = "\n\n".join(f"Paragraph {i} is about valves of type {i * 37}." for i in range(40))
    (tmp_path / "guides" / "setup.md").write_text(f"# Setting up\n\n{body}\n")
    (tmp_path / "old_notes.txt").write_text("The pump stands in the cellar.\n", "utf-8-sig")
    (tmp_path / "scan.txt").write_text("  \n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "secret.txt").write_text("hidden")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    return tmp_path


def test_documents_become_passages(handbook: Path) -> None:
    corpus = Folder(path=handbook, chunk=300, overlap=50)
    passages = corpus.passages()
    assert [p.id for p in passages][-1] == "old_notes.txt#1"
    assert passages[-1].title == "old notes" and passages[-1].text == "The pump stands in the cellar."
    setup = [p for p in passages if p.title == "Setting up"]
    assert [p.id for p in setup] == [f"guides/setup.md#{i + 1}" for i in range(len(setup))]
    assert len(setup) > 5 and max(len(p.text) for p in setup) <= 300
    for i in range(40):
        assert any(f"Paragraph {i} is about valves of type {i * 37}." in p.text for p in setup), "nothing is lost"
    assert (
        corpus.inspect() == f"{len(passages)} passages of 2 files; without any text (scanned pages, perhaps): scan.txt"
    )
    check_retriever(BM25(corpus=corpus).open(), passages)


def test_pages_of_a_pdf(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    (tmp_path / "Manual.PDF").write_bytes(pdf("The valve opens at noon.", "It closes at dusk."))
    passages = Folder(path=tmp_path, files=["*.PDF"]).passages()
    assert [(p.id, p.title, p.text) for p in passages] == [
        ("Manual.PDF#1", "Manual, page 1", "The valve opens at noon."),
        ("Manual.PDF#2", "Manual, page 2", "It closes at dusk."),
    ]


def test_the_size_and_the_overlap_of_passages(handbook: Path) -> None:
    def texts(**given: Any) -> list[str]:
        return [p.text for p in Folder(path=handbook, files=["*.md"], **given).passages()]

    assert len(texts(chunk=200, overlap=0)) > len(texts(chunk=400, overlap=0)) > 1
    assert sum(map(len, texts(chunk=200, overlap=100))) > sum(map(len, texts(chunk=200, overlap=0)))


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("broken.pdf", b"%PDF-1.4\nnothing else", "expected a PDF that can be read"),
        ("broken.pdf", b"", "expected a PDF that can be read"),
        ("latin.txt", "Łódź".encode("cp1250"), r"UnicodeDecodeError .*, expected a text in UTF-8"),
        ("blank.txt", b" ", "got 1 files without any text"),
        ("table.xlsx", b"PK", r"got no file called \*\.txt or \*\.md or \*\.markdown or \*\.pdf"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    if name.endswith(".pdf"):
        pytest.importorskip("pypdf")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=complaint) as caught:
        Folder(path=tmp_path).passages()
    assert name in str(caught.value) or "files" in str(caught.value) or "no file" in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder, expected one of documents"):
        Folder(path=tmp_path / "none").passages()
    with pytest.raises(ValidationError, match="expected a smaller overlap"):
        Folder(path=tmp_path, chunk=100, overlap=100)


def test_reading_a_spec_imports_no_langchain() -> None:
    code = "import sys, sdsearch.envs.data.folder; assert not any('langchain' in m for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
