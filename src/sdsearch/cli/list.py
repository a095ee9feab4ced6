"""`sdsearch list`."""

from __future__ import annotations

from typing import Annotated

import typer

from sdsearch.cli.options import Json
from sdsearch.cli.printing import listing


def catalogue(
    family: Annotated[str | None, typer.Argument(help="Show only this family, such as `credit`.")] = None,
    name: Annotated[str | None, typer.Argument(help="Show what can be set in this component of the family.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a spec can name: the components, by family, and the specs that come with sdsearch."""
    from sdsearch.config.catalogue import components, parameters, specs
    from sdsearch.contracts.families import FAMILIES, family_of

    if family and name:
        listing(("parameter", "default", "what it is"), [*parameters(family_of(family), name)], as_json)
        return
    chosen = [family_of(family)] if family else FAMILIES.values()
    entries = [*(e for f in chosen for e in components(f)), *(specs() if not family else ())]
    listing(("family", "type", "what it is"), entries, as_json)
