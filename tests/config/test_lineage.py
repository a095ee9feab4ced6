"""Which members a module has, found without running any of it."""

import compileall
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sdsearch.config.component import resolve
from sdsearch.config.lineage import descends, find, members, source
from sdsearch.contracts.agent import Agent
from sdsearch.contracts.retrieval import Embedder, Retriever
from sdsearch.errors import ComponentError

FATAL = "raise SystemExit('run')\n"

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write modules, by path, that cannot be imported without being noticed."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def module(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(FATAL + text)

    return module


@pytest.mark.parametrize(
    "text",
    [
        "from sdsearch.contracts.retrieval import Retriever\nclass Found(Retriever): ...",
        "from sdsearch.contracts.retrieval import Retriever as R\nclass Found(R): ...",
        "from sdsearch.contracts import retrieval\nclass Found(retrieval.Retriever): ...",
        "import sdsearch.contracts.retrieval\nclass Found(sdsearch.contracts.retrieval.Retriever): ...",
        "import sdsearch.contracts.retrieval as t\nclass Found(object, t.Retriever): ...",
        "from sdsearch.contracts.retrieval import Retriever\nclass Base(Retriever): ...\nclass Found(Base): ...",
        "try:\n    from sdsearch.contracts.retrieval import Retriever\nexcept ImportError:\n    pass\nif True:\n"
        "    class Found(Retriever): ...",
        "from .other import Base\nclass Found(Base): ...",
        "from . import other\nclass Found(other.Base): ...",
        "from shop.other import Base as B\nclass Found(B): ...",
        "from sdsearch.envs.retrieval.bm25 import BM25\nclass Found(BM25): ...",
    ],
)
def test_a_class_is_followed_to_its_family(write: Write, text: str) -> None:
    write("shop/__init__.py", "from .found import Found as Renamed")
    write("shop/other.py", "from sdsearch.contracts.retrieval import Retriever\nclass Base(Retriever): ...")
    write("shop/found.py", text)
    assert "Found" in members(source("shop.found") or "", "shop.found", Retriever)
    assert members(source("shop.found") or "", "shop.found", Embedder) == []
    assert descends("shop.Renamed", Retriever)
    assert not descends("shop.Other", Retriever)
    assert not {"shop", "shop.found", "shop.other"} & sys.modules.keys()


@pytest.mark.parametrize(
    "text",
    [
        "class Found: ...",
        "class Found(Retriever): ...",
        "def Retriever(): ...\nclass Found(Retriever): ...",
        "from nowhere import Retriever\nclass Found(Retriever): ...",
        "from sdsearch.contracts.retrieval import *\nclass Found(Retriever): ...",
        "from sdsearch.contracts.retrieval import Retriever\nBase = Retriever\nclass Found(Base): ...",
        "from .found import Found as Base\nclass Found(Base): ...",
        "from ..... import Base\nclass Found(Base): ...",
        "class Found(make()): ...",
        "class Found(Other): ...\nclass Other(Found): ...",
        "def room():\n    from sdsearch.contracts.retrieval import Retriever\n    class Found(Retriever): ...",
        "Found = 3",
    ],
)
def test_what_leads_to_no_family_is_refused_before_it_runs(write: Write, text: str) -> None:
    write("shop/found.py", text)
    with pytest.raises(ComponentError, match=r"has no retriever|cannot be read as Python"):
        resolve(Retriever, "shop.found:Found")
    with pytest.raises(ComponentError, match=r"defines 0 members|cannot be read as Python"):
        resolve(Retriever, "shop.found")
    assert "shop.found" not in sys.modules


def test_packages_without_init_are_looked_into_and_not_imported(write: Write) -> None:
    write("one/two/three.py", "from sdsearch.contracts.retrieval import Retriever\nclass Found(Retriever): ...")
    assert find("one.two").loader is None
    assert source("one.two") == ""
    assert members(source("one.two.three") or "", "one.two.three", Retriever) == ["Found"]
    assert not {"one", "one.two", "one.two.three"} & sys.modules.keys()
    with pytest.raises(ModuleNotFoundError) as caught:
        find("one.four.three")
    assert caught.value.name == "one.four"
    with pytest.raises(ModuleNotFoundError) as caught:
        find("one.two.three.four")
    assert caught.value.name == "one.two.three.four"


@pytest.mark.parametrize("name", ["antigravity", "this", "idlelib.idle", "__phello__.spam"])
def test_modules_that_do_something_when_imported_are_not(name: str) -> None:
    assert name not in sys.modules
    for text in (name, f"{name}:Agent"):
        if "." in text or ":" in text:
            with pytest.raises(ComponentError):
                resolve(Agent, text)
    assert name not in sys.modules


def test_a_module_without_source_is_refused(write: Write, tmp_path: Path) -> None:
    write("dark/shelf.py", "from sdsearch.contracts.retrieval import Retriever\nclass Shelf(Retriever): ...")
    compileall.compile_file(tmp_path / "dark" / "shelf.py", legacy=True, quiet=2)
    (tmp_path / "dark" / "shelf.py").unlink()
    with pytest.raises(ComponentError, match=r"dark\.shelf is compiled: expected a module with Python source"):
        resolve(Retriever, "dark.shelf:Shelf")
