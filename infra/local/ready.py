"""When the stack is ready: every process runs, the API reaches its servers, each worker reports itself."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

from infra.local.plan import Process
from shared.settings import Settings

POLL_S = 0.2
#: One question to a server that may still be starting.
ASK_S = 5.0


def await_ready(settings: Settings, processes: Sequence[Process], timeout_s: float) -> Mapping[str, str]:
    """Wait until nothing is missing; returns what is after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while (missing := find_missing(settings, processes)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return missing


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
    reported = {worker["pid"] for worker in fleet["workers"]}
    workers = [process.name for process in processes if process.is_worker]
    return {name: "it has not reported itself" for name in workers if pids[name] not in reported}


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
