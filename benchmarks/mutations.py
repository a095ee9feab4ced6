"""Small wrong changes to a source file: what `benchmarks/mutants.py` puts in place, one at a time.

A mutant is one edit of one expression or statement. Left alone are annotations, texts (docstrings and what is raised
or said in an f-string), `__repr__` and what only a type checker reads. Two edits are not made because they would say
nothing new: a boolean that is passed by keyword is flipped, not dropped as well; and where a name is bound for the
first time the statement stays, for any test that gets there would see a `NameError`.
"""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
NUMERIC = ("float", "int", "Tensor", "Array", "NDArray")
"""How annotations of functions begin whose value can be negated."""


class Mutant(NamedTuple):
    """One edit of one file."""

    path: str
    scope: str
    """The function or class that it is in, "" for none."""
    statement: int | None
    """The first line of the statement that has to be executed for it to matter; None outside functions."""
    line: int
    operator: str
    start: int
    end: int
    """Which bytes of the file are replaced."""
    text: str
    nth: int = 0
    """How many edits with the same words come before it in its scope."""

    def applied(self, source: bytes) -> bytes:
        """Return the file with the edit."""
        return source[: self.start] + self.text.encode() + source[self.end :]

    def name(self, source: bytes) -> str:
        """Return what stays the same when other parts of the file change."""
        before = source[self.start : self.end].decode()
        return "|".join((self.path, self.scope, self.operator, before, self.text, str(self.nth)))

    def drawn(self, source: bytes, seed: int) -> str:
        """Return its place in the order of a seed: a change elsewhere leaves the order of all others as it is."""
        return hashlib.sha256(f"{seed}|{self.name(source)}".encode()).hexdigest()

    def diff(self, source: bytes) -> str:
        """Return its first line before and after."""
        begin, after = source.rfind(b"\n", 0, self.start) + 1, self.applied(source)
        lines = (text[begin:].split(b"\n", 1)[0].decode().strip() for text in (source, after))
        return "- {}\n+ {}".format(*lines)


def mutants(path: Path, root: Path) -> list[Mutant]:
    """Return all mutants of a file, in its order."""
    source = path.read_bytes()
    tree, found, counts = ast.parse(source), [], Counter[str]()
    for mutant in _Sites(source, str(path.relative_to(root))).of(tree):
        if ast.dump(ast.parse(mutant.applied(source))) == ast.dump(tree):
            continue
        name = mutant.name(source)
        found.append(mutant._replace(nth=counts[name]))
        counts[name] += 1
    return found


def marked(source: str, path: str) -> str:
    """Return a file that calls `__mark__(path, line)` before each statement of a function, and with 0 when loaded."""

    class Marks(ast.NodeTransformer):
        inside = False

        def generic_visit(self, node: ast.AST) -> ast.AST:
            kept, self.inside = self.inside, self.inside or isinstance(node, ast.FunctionDef)
            super().generic_visit(node)
            for name in ("body", "orelse", "finalbody") if self.inside else ():
                block = getattr(node, name, None)
                if isinstance(block, list):
                    setattr(node, name, [each for old in block for each in self.with_mark(old)])
            self.inside = kept
            return node

        def with_mark(self, old: ast.stmt) -> list[ast.stmt]:
            text = isinstance(old, ast.Expr) and isinstance(old.value, ast.Constant)
            return [old] if text else [ast.parse(f"__mark__({path!r}, {old.lineno})").body[0], old]

    return ast.unparse(Marks().visit(ast.parse(source))) + f"\n__mark__({path!r}, 0)\n"


class _Sites:
    """Walks a file, knowing in which function and statement it is."""

    def __init__(self, source: bytes, path: str) -> None:
        self.path = path
        self.offsets = [0]
        for line in source.splitlines(keepends=True):
            self.offsets.append(self.offsets[-1] + len(line))
        self.scope: tuple[str, ...] = ()
        self.returns = ""
        self.inside = False
        self.bound: set[str] = set()
        self.statement: ast.stmt | None = None

    def of(self, node: ast.AST) -> Iterator[Mutant]:
        """Yield the mutants of a node and of all below it."""
        match node:
            case ast.FunctionDef(name="__repr__"):
                return
            case ast.Raise():
                yield from self.edit("statement", self.on(node), "pass") if self.inside else ()
                return
            case ast.JoinedStr():
                return  # before Python 3.12 what is inside has no place of its own
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                return
            case ast.Call(func=ast.Name(id=name)) if name.endswith(("Error", "Unavailable")):
                return
            case ast.FunctionDef() | ast.ClassDef():
                yield from self.definition(node)
                return
        if isinstance(node, ast.stmt):
            self.statement = node
        yield from self.here(node)
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns"):
                continue
            if isinstance(node, ast.Slice) and isinstance(value, ast.Constant):
                continue  # it has been shifted
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    kept = self.statement
                    yield from self.of(child)
                    self.statement = kept

    def definition(self, node: ast.FunctionDef | ast.ClassDef) -> Iterator[Mutant]:
        """Yield what lies in a function or class; decorators and defaults belong to what it is in."""
        self.statement = node
        for outer in node.decorator_list:
            yield from self.of(outer)
        if isinstance(node, ast.FunctionDef):
            for default in (*node.args.defaults, *node.args.kw_defaults):
                yield from self.of(default) if default else ()
        kept = self.scope, self.returns, self.inside, self.bound
        self.scope = (*self.scope, node.name)
        if isinstance(node, ast.FunctionDef):
            self.inside, self.returns = True, ast.unparse(node.returns) if node.returns else ""
            self.bound = {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
        for child in node.body:
            yield from self.of(child)
        self.scope, self.returns, self.inside, self.bound = kept

    def here(self, node: ast.AST) -> Iterator[Mutant]:
        """Yield the mutants of a node itself."""
        match node:
            case ast.Compare():
                for i, op in enumerate(node.ops):
                    ops = [*node.ops[:i], COMPARISONS[type(op)](), *node.ops[i + 1 :]]
                    yield from self.edit("comparison", node, ast.Compare(node.left, ops, node.comparators))
            case ast.BinOp() if type(node.op) in ARITHMETIC and (self.inside or not isinstance(node.op, ast.BitOr)):
                swapped = ARITHMETIC[type(node.op)]()
                yield from self.edit("arithmetic", node, ast.BinOp(node.left, swapped, node.right))
            case ast.BoolOp():
                other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
                yield from self.edit("and/or", node, ast.BoolOp(other, node.values))
            case ast.UnaryOp(op=ast.Not()):
                yield from self.edit("not", node, node.operand)
            case ast.Constant(value=bool()):
                yield from self.edit("constant", node, str(not node.value))
            case ast.Constant(value=int() | float()):
                yield from self.edit("constant", node, repr(node.value + 1))
            case ast.Slice():
                for bound in (node.lower, node.upper):
                    if bound is not None:
                        yield from self.edit("slice", bound, ast.BinOp(bound, ast.Add(), ast.Constant(1)))
            case ast.Call():
                for gone in node.keywords:
                    if gone.arg and not (isinstance(gone.value, ast.Constant) and isinstance(gone.value.value, bool)):
                        left = [k for k in node.keywords if k is not gone]
                        yield from self.edit("keyword", node, ast.Call(node.func, node.args, left))
            case ast.AugAssign() if type(node.op) in ARITHMETIC:
                swapped = ARITHMETIC[type(node.op)]()
                text = ast.unparse(ast.AugAssign(node.target, swapped, node.value))
                yield from self.edit("arithmetic", self.on(node), text)
            case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
                yield from self.returned(value)
        if self.inside and self.deletable(node):
            yield from self.edit("statement", node, "pass")
        for test in self.conditions(node):
            if not isinstance(test, ast.Compare | ast.BoolOp) and not _is_not(test):
                yield from self.edit("condition", test, ast.UnaryOp(ast.Not(), test))

    def returned(self, value: ast.expr) -> Iterator[Mutant]:
        """Yield the mutant of a returned value."""
        if self.returns == "bool":
            yield from self.edit("return", value, value.operand if _is_not(value) else ast.UnaryOp(ast.Not(), value))
        elif self.returns.startswith(NUMERIC):
            yield from self.edit("return", value, ast.UnaryOp(ast.USub(), value))
        else:
            yield from self.edit("return", value, "None")

    def deletable(self, node: ast.AST) -> bool:
        """Say whether a node is a statement that does something, and without which the names are bound all the same."""
        match node:
            case ast.Expr(value=ast.Call()) | ast.AugAssign():
                return True
            case ast.AnnAssign(target=ast.Name(id=name)):
                self.bound.add(name)
            case ast.Assign(targets=targets):
                stored = [n for t in targets for n in ast.walk(t) if isinstance(getattr(n, "ctx", None), ast.Store)]
                names = {n.id for n in stored if isinstance(n, ast.Name)}
                new = names - self.bound
                self.bound |= names
                return not new
        return False

    def conditions(self, node: ast.AST) -> Sequence[ast.expr]:
        """Return what a node branches on."""
        match node:
            case ast.If() | ast.While() | ast.IfExp():
                return [node.test]
            case ast.comprehension():
                return node.ifs
        return []

    def on(self, node: ast.stmt) -> ast.stmt:
        """Note that a statement is the one that is walked, and return it."""
        self.statement = node
        return node

    def edit(self, operator: str, old: ast.expr | ast.stmt, new: ast.expr | str) -> Iterator[Mutant]:
        """Yield the mutant that puts `new` where `old` is."""
        assert self.statement is not None and old.end_lineno is not None and old.end_col_offset is not None
        text = new if isinstance(new, str) else f"({ast.unparse(new)})"
        definition = isinstance(self.statement, ast.FunctionDef | ast.ClassDef)
        statement = self.statement.lineno if self.inside and not definition else None
        start = self.offsets[old.lineno - 1] + old.col_offset
        end = self.offsets[old.end_lineno - 1] + old.end_col_offset
        yield Mutant(self.path, ".".join(self.scope), statement, old.lineno, operator, start, end, text)


def _is_not(node: ast.expr) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
