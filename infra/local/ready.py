"""When the stack is ready: every process runs, the API reaches its servers, each worker takes work."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import requests

from infra.local.plan import Process
from shared.registry.workers import WARMING_UP
from shared.settings import Settings

POLL_S = 0.2
#: How the supervisor logs a process that ended, or that could not be started.
RESTART = re.compile(
    r"(?:(?P<ended>ended unexpectedly with status )|cannot be started: ).*"
    r"; restarts in [\d.]+ s(?P<output>: .+)?$"
)
#: A process that has been restarted so often before the stack was ready does not become ready.
GIVE_UP_AFTER = 3
#: Timeout of a request to a server that may still be starting.
ASK_S = 5.0
#: The checks of ``/readyz`` that speak of workers: each worker of the stack is asked about by itself.
WORKER_CHECKS = frozenset({"unet_workers", "controlnet_workers"})

#: What is not ready: the reason, by process.
Missing = Mapping[str, str]


class Deadline:
    """When waiting ends: so long after its begin, or after the last progress of a worker that warms up.

    What a worker has reported once is no progress when it says so again, after a restart: it ends.
    """

    def __init__(self, timeout_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._timeout_s, self._now = timeout_s, now
        self._ends_at = now() + timeout_s
        self._reported: set[tuple[str, str]] = set()

    def note(self, missing: Missing) -> None:
        """What is missing now."""
        reported = {(name, why) for name, why in missing.items() if why.startswith(WARMING_UP)}
        if reported - self._reported:
            self._ends_at = self._now() + self._timeout_s
        self._reported |= reported

    @property
    def is_over(self) -> bool:
        """Whether to wait no longer."""
        return self._now() > self._ends_at


def await_ready(
    settings: Settings,
    processes: Sequence[Process],
    timeout_s: float,
    on_poll: Callable[[Missing], None] = lambda _: None,
) -> Missing:
    """Wait until nothing is missing; returns what is after ``timeout_s`` without progress, or once a process
    was restarted `GIVE_UP_AFTER` times.

    ``on_poll`` is called with what is missing at each poll.
    """
    deadline = Deadline(timeout_s)
    while missing := find_missing(settings, processes):
        on_poll(missing)
        deadline.note(missing)
        restarts = {name: read_restarts(settings.home, name) for name in missing}
        ended = {name: lines[-1] for name, lines in restarts.items() if lines}
        is_hopeless = any(len(lines) >= GIVE_UP_AFTER for lines in restarts.values())
        if is_hopeless or deadline.is_over:
            return {**missing, **ended}
        time.sleep(POLL_S)
    on_poll({})
    return {}


def find_missing(settings: Settings, processes: Sequence[Process]) -> Missing:
    """What is not ready now."""
    pids = read_pids(settings.home)
    unknown = {process.name: "not known yet" for process in processes if process.worker}
    absent = {process.name: "it does not run" for process in processes if process.name not in pids}
    if absent:
        return unknown | absent
    missing: dict[str, str] = {}
    try:
        if why := _find_broken_servers(settings):
            missing["api"] = why
        fleet = _get(f"{settings.api_url}/v1/fleet", key=settings.bootstrap_key).json()
    except requests.RequestException as error:
        return unknown | {"api": _explain(error)}
    reasons = {worker["pid"]: worker["unavailable_reasons"] for worker in fleet["workers"]}
    for process in processes:
        if process.worker and (why := reasons.get(pids[process.name], ["it has not reported itself"])):
            missing[process.name] = "; ".join(why)
    try:
        _get(f"{settings.flower_url}/healthcheck")
    except requests.RequestException as error:
        missing["flower"] = _explain(error)
    return missing


def _find_broken_servers(settings: Settings) -> str:
    """The failed checks of ``/readyz`` about servers; empty if the API reaches all."""
    url = f"{settings.api_url}/readyz"
    answer = requests.get(url, headers=_key_header(settings.bootstrap_key), timeout=ASK_S)
    if answer.ok:
        return ""
    if answer.status_code != 503 or "json" not in answer.headers.get("Content-Type", ""):
        return f"{url} answers {answer.status_code}"
    checks = answer.json().get("checks") or {}
    broken = {name: why for name, why in checks.items() if why != "ok" and name not in WORKER_CHECKS}
    return "; ".join(f"{name}: {why}" for name, why in broken.items())


def _explain(error: requests.RequestException) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{error.response.url} answers {error.response.status_code}"
    return f"it does not answer: {type(error).__name__}"


def read_restarts(home: Path, name: str) -> list[str]:
    """Each restart of a process since the stack started: the supervisor's line, and the last output of a
    process that ended.
    """
    try:
        lines = (home / "logs" / f"{name}.log").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    restarts = []
    for i, line in enumerate(lines):
        if restart := RESTART.search(line):
            output = next((before for before in reversed(lines[:i]) if before.strip()), "")
            is_whole = restart["output"] or not restart["ended"]
            restarts.append(line if is_whole else f"{line}: {output}")
    return restarts


def await_flower(settings: Settings, login: tuple[str, str], workers: int, timeout_s: float) -> None:
    """Wait until Flower has inspected as many workers, so that its first page shows them; not for long."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            answer = requests.get(f"{settings.flower_url}/api/workers", auth=login, timeout=ASK_S)
            if sum("active_queues" in worker for worker in answer.json().values()) >= workers:
                return
        except (requests.RequestException, ValueError):
            pass
        time.sleep(POLL_S)


def read_pids(home: Path) -> dict[str, int]:
    """The pid of every running process by name, as the supervisor wrote it."""
    pids = {}
    for file in sorted((home / "pids").glob("*.pid")):
        try:
            pids[file.stem] = int(file.read_text())
        except FileNotFoundError:
            continue  # it has ended just now
    return pids


def _get(url: str, *, key: str | None = None) -> requests.Response:
    answer = requests.get(url, headers=_key_header(key), timeout=ASK_S)
    answer.raise_for_status()
    return answer


def _key_header(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}
