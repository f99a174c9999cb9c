"""A job's progress as a bar, until it has ended."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from infra.cli.client import Client

COLUMNS = (TextColumn("{task.description}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())


def run_with_progress(client: Client, request: Mapping[str, Any], console: Console) -> dict[str, Any]:
    """Submit a job and show its progress; returns it once it has succeeded, else raises `ApiError`."""
    with Progress(*COLUMNS, console=console) as progress:
        bar = progress.add_task("queued", total=None)

        def on_event(kind: str, data: dict[str, Any]) -> None:
            if kind == "progress":
                progress.update(bar, completed=data["step"], total=data["total"])
            elif kind in ("status", "done"):
                progress.update(bar, description=data["status"])

        return client.run(request, on_event)
