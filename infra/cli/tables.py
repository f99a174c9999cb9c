"""Tables on standard output, as wide as their content: no path is cut, and lines can be searched."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Wide enough for every path; a terminal wraps longer lines itself.
WIDTH = 1000


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | int]]) -> None:
    """Print rows under a header; numbers are aligned at the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    rows = list(rows)
    for i, name in enumerate(columns):
        is_number = bool(rows) and all(isinstance(row[i], int) for row in rows)
        table.add_column(name, justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(width=WIDTH, highlight=False).print(table)


def print_list(
    found: Sequence[dict[str, Any]],
    columns: Sequence[str],
    row: Callable[[dict[str, Any]], Sequence[str | int]],
    *,
    as_json: bool,
) -> None:
    """Print what the API has listed: as it is, as JSON, or as a table with a ``row`` for each."""
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    print_table(columns, [row(one) for one in found])
