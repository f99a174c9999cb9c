"""What a person sees while the stack starts, and once it is ready: progress, first workers, addresses."""

import time
from collections.abc import Mapping, Sequence

from rich.table import Table

from infra.local.bootstrap_key import FILE as KEY_FILE
from infra.local.plan import Process
from infra.local.ready import Missing
from infra.local.supervision.terminal import Terminal
from shared.registry.workers import WARMING_UP, WorkerKind
from shared.settings import Settings

ROLES: Mapping[WorkerKind, str] = {"unet": "UNet", "controlnet": "ControlNet"}


class StartDisplay:
    """Shows what the stack still waits for, and the first worker of each role as it becomes ready."""

    def __init__(self, terminal: Terminal, processes: Sequence[Process]) -> None:
        self._terminal = terminal
        self._processes = processes
        self._began = time.monotonic()
        self._ready_roles: set[WorkerKind] = set()

    def update(self, missing: Missing) -> None:
        """Show the state of one poll."""
        for process in self._processes:
            if process.worker and process.name not in missing and process.worker not in self._ready_roles:
                self._ready_roles.add(process.worker)
                took_s = time.monotonic() - self._began
                role = ROLES[process.worker]
                self._terminal.show(f"First {role} worker is ready after {took_s:.1f} s: {process.title}")
        ready = sum(process.name not in missing for process in self._processes)
        names = [f"{name} ({why})" if why.startswith(WARMING_UP) else name for name, why in missing.items()]
        waiting = f"{ready} of {len(self._processes)} processes are ready; waiting for {', '.join(names)}"
        self._terminal.show_waiting(waiting if missing else "")

    def end(self) -> None:
        """End the progress display."""
        self._terminal.show_waiting("")
        self._terminal.flush()


def describe_stack(settings: Settings, login: tuple[str, str], processes: Sequence[Process]) -> Table:
    """Where everything is: addresses, logins, files, the devices of workers."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    keys = f"API key: {settings.home / KEY_FILE}"
    is_open = "open to whoever reaches it; SWIFT_AUTH=keys asks for API keys"
    for row in (
        ("API", settings.api_url, is_open if settings.auth == "off" else keys),
        ("console", f"{settings.api_url}/", "in a browser: generate, watch, manage"),
        ("API reference", f"{settings.api_url}/docs", "try it there"),
        ("Flower", settings.flower_url, f"user {login[0]}, password {login[1]}"),
        ("S3 endpoint", str(settings.s3_endpoint_url), f"LoRAs: bucket {settings.lora_bucket}"),
        ("workers", ", ".join(process.title for process in processes if process.worker), ""),
        ("credentials", str(settings.home / "env"), "for a shell: set -a; . FILE"),
        ("logs", str(settings.home / "logs"), "one file a process"),
    ):
        table.add_row(*row)
    return table
