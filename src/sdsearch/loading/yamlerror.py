"""What PyYAML says about a text that it cannot read, with its place and with advice."""

from __future__ import annotations

import re

from sdsearch.loading.document import Place

ADVICE = {
    r"'\\t'": "indent with spaces, not tabs",
    r"mapping values are not allowed": "text that holds `: ` needs quotes; or is a line indented too far?",
    r"cannot start any token": "text that begins with this character needs quotes",
    r"expected <block end>": "is a line indented too far, or not far enough?",
    r"could not find expected ':'": "expected `key: value`; text of several lines needs quotes",
    r"undefined alias": "expected an anchor (&name) above it; text that begins with * needs quotes",
    r"another document": "write each spec into a file of its own",
}
"""What to do about an error that contains this."""


def place(error: Exception, text: str, source: str) -> Place:
    """Return where an error is, as far as it knows."""
    mark, position = getattr(error, "problem_mark", None), getattr(error, "position", None)
    if isinstance(position, int):
        return Place(source, text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position))
    return Place(source, mark.line + 1, mark.column + 1) if mark else Place(source)


def reason(error: Exception, inline: bool) -> str:
    """Return what is wrong and, where we know it, what to do. `inline`: lines mean nothing to the author."""
    begun = getattr(error, "context_mark", None)
    parts = [getattr(error, name, None) for name in ("context", "problem", "reason")]
    if parts[0] and begun and not inline:
        parts[0] += f" (begun at {begun.line + 1}:{begun.column + 1})"
    said = ", ".join(p for p in parts if p) or str(error)
    return "; ".join([said, *(advice for pattern, advice in ADVICE.items() if re.search(pattern, said))][:2])
