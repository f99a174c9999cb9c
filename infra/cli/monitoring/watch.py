"""``swiftdiffusion watch [JOB]...``: the progress of several jobs, over one stream of events."""

import json
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress, TaskID

from infra.cli.options import api_option, connected
from infra.cli.progress import COLUMNS
from shared.settings import Settings


class JobBars:
    """A progress bar for each job."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def on_event(self, kind: str, data: dict[str, Any]) -> None:
        """Show an event; the first one of a job adds its bar."""
        job_id = data.get("job")
        if job_id is None:
            return
        if job_id not in self._bars:
            self._bars[job_id] = self._progress.add_task(job_id, total=None)
        bar = self._bars[job_id]
        if kind == "progress":
            self._progress.update(bar, completed=data["step"], total=data["total"])
        elif kind in ("status", "done"):
            self._progress.update(bar, description=f"{job_id} {data['status']}")


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
@api_option
@click.pass_obj
def command(settings: Settings, jobs: Sequence[str], as_json: bool, api: str | None) -> int:
    """Show the progress of jobs until all have ended; without JOB of every job, until Ctrl-C.

    Exits with 1 if one of them has not succeeded.
    """
    statuses: dict[str, str] = {}
    with connected(api, settings) as client, Progress(*COLUMNS, console=Console(stderr=True)) as progress:
        bars = JobBars(progress)
        for kind, data in client.follow(jobs):
            if as_json:
                click.echo(json.dumps({"event": kind, **data}))
            else:
                bars.on_event(kind, data)
            if kind == "done":
                statuses[data["job"]] = data["status"]
    return int(any(statuses.get(job_id, "deleted") != "succeeded" for job_id in jobs))
