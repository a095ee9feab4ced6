"""Do the tests bite? Small wrong changes to the sources, one at a time, and whether a test fails.

    make mutants                                     # or: python benchmarks/mutants.py [--count 300] [--seed 0]
    python benchmarks/mutants.py --only gigpo        # those of the sample whose file's path has this word

`mutations.py` says what is changed; a seed draws the sample. First each file of tests is run once on sources with a
mark before each statement, which tells what each test executes, also in processes that it starts. Then each mutant
meets the tests that execute its statement, those of its own file first, then the quickest, up to the first failure.
All of it happens in copies of the tree, in forks of a process that has imported the heavy libraries and nothing of
ours. Everything is kept in `.cache/mutants/`: the same command goes on where it stopped, and runs again what has
another text, or survived other tests than there are now.

Prints a table, and every mutant that no test noticed. One that runs into its time limit counts as noticed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from mutations import Mutant, marked, mutants

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "mutants"
TREE, MARKED, PROBE = CACHE / "tree", CACHE / "marked", CACHE / "probe"
FOLDERS = ("src/sdsearch/learning", "src/sdsearch/crediting", "objectives", "src/sdsearch/rollout")
TESTS = (
    *("objectives", "crediting", "learning", "rollout", "core", "policy", "agents", "hinting", "monitoring", "testing"),
    *("fidelity", "teacher", "test_contracts.py", "test_token_truth.py", "test_outage.py", "test_effects.py"),
)
"""What of `tests/` is asked. The others look at other folders; they could only catch more."""
LONG = ("tests/learning/test_resume.py",)
"""Left out: minutes, in processes that are killed."""
HEAVY = (
    *("accelerate", "chromadb", "gymnasium", "hypothesis", "matplotlib.pyplot", "pydantic", "rich"),
    *("sentence_transformers", "torch", "transformers", "typer"),
)
ENOUGH = 120.0
"""Seconds of tests that are asked about a mutant at most."""
MEMORY = 16 * 2**30
PLUGINS = ("-p", "no:cacheprovider", "-p", "_hypothesis_pytestplugin")
UNWRITTEN = "ignore::pytest.PytestAssertRewriteWarning"
"""That plugins of the heavy libraries have been imported already does not matter."""

MARK = '''
"""Note which statements each test executes; a process that a test starts does so too."""
import builtins, json, os

out = open(os.environ["MUTANTS_LINES"], "a", buffering=1)
seen = set()

def mark(path, line):
    key = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0], path, line
    if key not in seen:
        seen.add(key)
        out.write(json.dumps(key) + "\\n")

builtins.__mark__ = mark
'''


class Record:
    """Chooses tests and writes down how they went; a plugin of pytest."""

    def __init__(self, chosen: Collection[str] | None, out: Path) -> None:
        self.chosen, self.out = chosen, out
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.outcomes: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.chosen is not None:
            items[:] = [item for item in items if item.nodeid in self.chosen]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.nodeid] = report.outcome

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.outcomes[report.nodeid] = "failed"

    def pytest_sessionfinish(self) -> None:
        self.out.write_text(json.dumps({"seconds": self.seconds, "outcomes": self.outcomes}))


class Asked(NamedTuple):
    """How some tests went."""

    seconds: dict[str, float]
    outcomes: dict[str, str]
    ended: bool
    """Whether they came to an end before the time limit."""

    @property
    def failed(self) -> list[str]:
        return [test for test, outcome in self.outcomes.items() if outcome == "failed"]


def ask(files: Sequence[str], chosen: Collection[str] | None, limit: float, *, lines: Path | None = None) -> Asked:
    """Run some files of tests in a fork, up to the first failure; with `lines` all, on marked sources."""
    out = CACHE / "record.json"
    out.unlink(missing_ok=True)
    process = get_context("fork").Process(target=_run, args=(files, chosen, out, lines))
    process.start()
    process.join(limit)
    ended = process.exitcode is not None
    try:
        os.killpg(process.pid or 0, signal.SIGKILL)  # also what it has left behind
    except ProcessLookupError:
        process.kill()
    process.join()
    given: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"seconds": {}, "outcomes": {}}
    if ended and not out.exists():
        given["outcomes"] = {"the process": "failed"}
    return Asked(**given, ended=ended)


def _run(files: Sequence[str], chosen: Collection[str] | None, out: Path, lines: Path | None) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with (CACHE / "log.txt").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.modules["__main__"] = ModuleType("__main__")  # processes that tests start would import this file
    tree = MARKED if lines else TREE
    os.chdir(tree)
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    path = [str(tree / "src")]
    sys.path[:] = [*path, *(p for p in sys.path if p != str(ROOT / "src") and p != str(Path(__file__).parent))]
    if lines:
        path.append(str(PROBE))
        os.environ["MUTANTS_LINES"] = str(lines)
        exec(MARK, {})
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    words = ["-q", *PLUGINS, "--hypothesis-seed=0", "-W", UNWRITTEN, f"--basetemp={CACHE / 'tmp'}"]
    record = Record(chosen, out)
    code = pytest.main([*words, *([] if lines else ["-x"]), *files], plugins=[record])
    sys.stdout.flush()
    os._exit(int(code))


def copy_trees() -> None:
    """Make fresh copies of what git knows or would know, one of them with marks."""
    names = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    for tree in (TREE, MARKED):
        shutil.rmtree(tree, ignore_errors=True)
        for name in filter(None, names.stdout.decode().split("\0")):
            if (ROOT / name).exists():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)
    for path in sources(MARKED):
        path.write_text(marked(path.read_text(), str(path.relative_to(MARKED))))
    PROBE.mkdir(exist_ok=True)
    (PROBE / "sitecustomize.py").write_text(MARK)


def sources(tree: Path) -> list[Path]:
    """Return the files that are mutated."""
    return [path for folder in FOLDERS for path in sorted((tree / folder).rglob("*.py"))]


class Tests:
    """Which tests there are, how long each takes and what it executes."""

    def __init__(self) -> None:
        """Run every file of tests that has changed, or whose sources have, on the marked sources."""
        self.kept = CACHE / "lines.json"
        self.known: dict[str, Any] = json.loads(self.kept.read_text()) if self.kept.exists() else {}
        self.excluded: list[str] = []
        self.seconds: dict[str, float] = {}
        self.loads: defaultdict[str, set[str]] = defaultdict(set)
        self.on: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        paths = [path for name in TESTS for path in sorted((TREE / "tests").glob(name))]
        found = [each for p in paths for each in (sorted(p.rglob("test_*.py")) if p.is_dir() else [p])]
        self.files = [name for name in (str(each.relative_to(TREE)) for each in found) if name not in LONG]
        for file in self.files:
            entry = self.known.get(file)
            if entry is None or entry["digest"] != digest([file, *entry["loads"]]):
                self.known[file] = entry = executed(file)
                self.kept.write_text(json.dumps(self.known))
            self.excluded += entry["excluded"]
            self.seconds |= entry["seconds"]
            for path in entry["loads"]:
                self.loads[path] |= entry["seconds"].keys()
            for path, tests in entry["lines"].items():
                for test, lines in tests.items():
                    for line in lines:
                        self.on[path][line].add(test)

    def of(self, mutant: Mutant) -> list[str]:
        """Return the tests that execute the statement of a mutant, or stand beside others that load its file.

        Those of its own file come first, then file by file the quickest, as many as there is time for, at least one.
        """
        found = self.loads[mutant.path] if mutant.statement is None else self.on[mutant.path][mutant.statement]
        files: defaultdict[str, float] = defaultdict(float)
        for test in found & self.seconds.keys():
            files[file_of(test)] += self.seconds[test]
        own = f"test_{Path(mutant.path).name}"

        def place(test: str) -> tuple[bool, float, str, float]:
            file = file_of(test)
            return Path(file).name != own, files[file], file, self.seconds[test]

        tests = sorted(found & self.seconds.keys(), key=place)
        spent = accumulate(self.seconds[test] for test in tests)
        return [test for i, (test, total) in enumerate(zip(tests, spent, strict=True)) if total < ENOUGH or not i]


def file_of(test: str) -> str:
    """Return the file that a test is in."""
    return test.partition("::")[0]


def executed(file: str) -> dict[str, Any]:
    """Return what the tests of a file execute, how long each takes, and which fail without any mutant."""
    out = CACHE / "lines.jsonl"
    out.unlink(missing_ok=True)
    since = time.perf_counter()
    asked = ask([file], None, 900, lines=out)
    failed = asked.failed
    if failed:  # perhaps because of the marks
        again = {test: ask([file], {test}, 300) for test in failed}
        failed = [test for test, each in again.items() if each.failed or not each.ended or not each.outcomes]
    lines: defaultdict[str, defaultdict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    loads = set[str]()
    for text in out.read_text().splitlines() if out.exists() else ():
        test, path, line = json.loads(text)
        loads.add(path)
        if test and line:
            lines[path][test].add(line)
    print(f"ran {file}: {len(asked.outcomes)} tests, {time.perf_counter() - since:.0f} s", *failed, flush=True)
    passed = {t: s for t, s in asked.seconds.items() if t not in failed and asked.outcomes.get(t) != "skipped"}
    return {
        "digest": digest([file, *loads]),
        "loads": sorted(loads),
        "excluded": failed,
        "seconds": passed,
        "lines": {path: {t: sorted(at) for t, at in tests.items()} for path, tests in lines.items()},
    }


def digest(files: Iterable[str]) -> str:
    """Return a hash of what is in some files of the tree."""
    return hashlib.sha256(b"\0".join((TREE / f).read_bytes() for f in sorted(files) if (TREE / f).exists())).hexdigest()


def judge(mutant: Mutant, index: int, tests: Tests, before: dict[str, Any] | None) -> dict[str, Any]:
    """Return how a mutant fared; `before` is how it did the last time."""
    path = TREE / mutant.path
    source, stamp = path.read_bytes(), path.stat().st_mtime
    chosen = tests.of(mutant)
    files = list(dict.fromkeys(map(file_of, chosen)))
    text = digest([mutant.path])
    met = f"{digest([mutant.path, *files])} {len(chosen)}"
    if before and (before["met"] == met or (before["status"] != "survived" and before["source"] == text)):
        return before
    since = time.perf_counter()
    asked = Asked({}, {}, True)
    if files:
        path.write_bytes(mutant.applied(source))
        os.utime(path, (stamp + 10 + index, stamp + 10 + index))  # so that no compiled file fits
        try:
            for some in batches(files):
                expected = sum(tests.seconds[t] for t in chosen if file_of(t) in some)
                asked = ask(some, chosen, 30 + 4 * expected)
                if asked.failed or not asked.ended:
                    break
        finally:
            path.write_bytes(source)
            os.utime(path, (stamp, stamp))
    status = "timeout" if not asked.ended else "caught" if asked.failed else "survived"
    by = asked.failed[0] if asked.failed else ""
    return {
        "name": mutant.name(source),
        "status": status,
        "by": by,
        "tests": len(chosen),
        "met": met,
        "source": text,
        "seconds": round(time.perf_counter() - since, 2),
    }


def batches(files: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield one file, then two, four and so on: most mutants meet their end in the first, and importing takes time."""
    start, size = 0, 1
    while start < len(files):
        yield files[start : start + size]
        start, size = start + size, 2 * size


def table(heading: str, statuses: Iterable[tuple[str, str]]) -> str:
    """Return a table in Markdown: a row for each kind, of pairs of kind and status."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for kind, status in statuses:
        counts[kind][status] += 1
        counts["all"][status] += 1
    rows = [f"| {heading} | mutants | caught | time limit | survived | noticed |", "|---|---|---|---|---|---|"]
    for kind in sorted(counts, key=lambda k: (k == "all", k)):
        c, n = counts[kind], counts[kind].total()
        share = (n - c["survived"]) / n
        rows.append(f"| {kind} | {n} | {c['caught']} | {c['timeout']} | {c['survived']} | {share:.1%} |")
    return "\n".join(rows)


def main() -> None:
    """Draw the sample, judge what has not been judged, print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a word of the path")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in HEAVY:
        importlib.import_module(name)
    CACHE.mkdir(parents=True, exist_ok=True)
    copy_trees()
    tests = Tests()
    sound = ask(tests.files[:1], None, 300)
    if sound.failed or not sound.outcomes:
        raise SystemExit(f"the tests fail without a mutant, see {CACHE / 'log.txt'}")
    print("excluded, failing without a mutant:", *(tests.excluded or ["none"]), sep="\n  ")
    found = [mutant for path in sources(TREE) for mutant in mutants(path, TREE)]
    texts = {m.path: (TREE / m.path).read_bytes() for m in found}
    drawn = sorted(found, key=lambda m: m.drawn(texts[m.path], given.seed))[: given.count]
    sample = [m for m in drawn if given.only in m.path]
    results = CACHE / "results.jsonl"
    lines = results.read_text().splitlines() if results.exists() else []
    before = {each["name"]: each for each in map(json.loads, lines)}
    judged: list[tuple[Mutant, dict[str, Any]]] = []
    for index, mutant in enumerate(sample):
        earlier = before.get(mutant.name(texts[mutant.path]))
        result = judge(mutant, index, tests, earlier)
        judged.append((mutant, result))
        if result is not earlier:
            with results.open("a") as file:
                file.write(json.dumps(result) + "\n")
            where = f"{mutant.path}:{mutant.line}"
            print(
                f"[{index + 1}/{len(sample)}] {result['status']} {where} {mutant.operator} {result['by']}", flush=True
            )
    print(f"\n{len(found)} mutants in {len(texts)} files; {len(sample)} drawn with seed {given.seed}\n")
    folders = ((next(f for f in FOLDERS if m.path.startswith(f)), r["status"]) for m, r in judged)
    print(table("folder", folders), table("operator", ((m.operator, r["status"]) for m, r in judged)), sep="\n\n")
    print()
    for mutant, result in judged:
        if result["status"] == "survived":
            print(f"{mutant.path}:{mutant.line} {mutant.operator}, {result['tests']} tests")
            print(mutant.diff(texts[mutant.path]))


if __name__ == "__main__":
    main()
