"""Tables on standard output, as wide as their content: no path is cut, and lines can be searched."""

from collections.abc import Iterable, Sequence

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
