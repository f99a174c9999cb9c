"""When the stack is ready: every process runs, the API reaches its servers, each worker reports itself."""

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

from infra.local.plan import Process
from shared.settings import Settings

POLL_S = 0.2
#: How a process that ends is reported in its log.
RESTART = re.compile(r"ended unasked with status .*; starts again in [\d.]+ s(: .+)?$")
#: A process that has ended so often before the stack was ready does not become ready.
GIVE_UP_AFTER = 3
#: One question to a server that may still be starting.
ASK_S = 5.0


def await_ready(settings: Settings, processes: Sequence[Process], timeout_s: float) -> Mapping[str, str]:
    """Wait until nothing is missing; returns what is after ``timeout_s``, or once a process keeps ending."""
    deadline = time.monotonic() + timeout_s
    while missing := find_missing(settings, processes):
        restarts = {name: read_restarts(settings.home, name) for name in missing}
        ended = {name: lines[-1] for name, lines in restarts.items() if lines}
        is_hopeless = any(len(lines) >= GIVE_UP_AFTER for lines in restarts.values())
        if is_hopeless or time.monotonic() > deadline:
            return {**missing, **ended}
        time.sleep(POLL_S)
    return {}


def find_missing(settings: Settings, processes: Sequence[Process]) -> Mapping[str, str]:
    """What is not ready now, by process: the reason."""
    pids = read_pids(settings.home)
    absent = {process.name: "it does not run" for process in processes if process.name not in pids}
    if absent:
        return absent
    asked = "api"
    try:
        _get(f"{settings.api_url}/readyz")
        fleet = _get(f"{settings.api_url}/v1/fleet").json()
        asked = "flower"
        _get(f"{settings.flower_url}/healthcheck")
    except requests.HTTPError as error:
        return {asked: f"{error.response.url} answers {error.response.status_code}"}
    except requests.RequestException as error:
        return {asked: f"it does not answer: {type(error).__name__}"}
    reasons = {worker["pid"]: worker["unavailable_reasons"] for worker in fleet["workers"]}
    workers = [process.name for process in processes if process.is_worker]
    told = {name: reasons.get(pids[name], ["it has not reported itself"]) for name in workers}
    return {name: "; ".join(why) for name, why in told.items() if why}


def read_restarts(home: Path, name: str) -> list[str]:
    """How often a process has ended since the start of the stack: why, each time, with what it said last."""
    try:
        lines = (home / "logs" / f"{name}.log").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    told = []
    for i, line in enumerate(lines):
        if ended := RESTART.search(line):
            said = next((before for before in reversed(lines[:i]) if before.strip()), "")
            told.append(line if ended[1] else f"{line}: {said}")
    return told


def await_flower(settings: Settings, login: tuple[str, str], workers: int, timeout_s: float) -> None:
    """Wait until Flower has inspected as many workers, so that whoever opens it sees them; not for long."""
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
    """The pid of every process that runs, by name: as the supervisor started them."""
    pids = {}
    for file in sorted((home / "pids").glob("*.pid")):
        try:
            pids[file.stem] = int(file.read_text())
        except FileNotFoundError:
            continue  # it has ended just now
    return pids


def _get(url: str) -> requests.Response:
    answer = requests.get(url, timeout=ASK_S)
    answer.raise_for_status()
    return answer
