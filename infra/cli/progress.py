"""A job's progress as a bar, until it has ended."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from infra.cli.client import Api


def watch(api: Api, accepted: Mapping[str, Any], console: Console) -> dict[str, Any]:
    """Show the progress of an ``accepted`` job; returns the job as it ended."""
    columns = (TextColumn("{task.description}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("queued", total=None)
        for kind, data in api.events(accepted["links"]["events"]):
            if kind == "progress":
                progress.update(bar, completed=data["step"], total=data["total"])
            elif kind in ("status", "done"):
                progress.update(bar, description=data["status"])
    return api.read(accepted["links"]["self"])
