"""Clients that submit jobs without a pause: with an Idempotency-Key, and again until they are accepted."""

import secrets
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import requests
from redis.exceptions import RedisError

from infra.chaos.recipes.embedded import LORAS, Recipe
from infra.chaos.target import ANSWER_S, Target
from infra.emoji_files import EMOJI
from shared import keys
from shared.jobs.record import ENDED

#: The embedded LoRAs, by their names in requests.
LORA_FILES = {name: EMOJI / "loras" / f"{name}.safetensors" for name in LORAS}
#: A client waits for its job no longer; the checks at the end wait for the others.
WAIT_S = 90.0
POLL_S = 0.3
#: Fraction of jobs that are cancelled, and after how long: waiting, running or ended.
CANCELLED, CANCEL_S = 0.06, (0.0, 3.0)
#: Statuses with which the API reports an outage; any other of 500 and above is a violation.
OUTAGE_STATUSES = (503,)
#: Of jobs that are given one: how many have each priority.
PRIORITIES = {"interactive": 2, "normal": 3, "batch": 5}


@dataclass
class Accepted:
    """A job that was answered with 202."""

    job_id: str
    recipe: int  # its place among the recipes
    tenant: str = keys.LOCAL
    is_cancelled: bool = False


@dataclass
class Log:
    """What the clients saw. Written by many threads: appending to a list is atomic."""

    accepted: list[Accepted] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


class Traffic:
    """Runs ``clients`` threads that submit ``recipes`` at random, and again until accepted.

    Each waits for its job before it submits the next; with ``queue_length`` until fewer jobs than that wait
    for a worker, so that the fleet is saturated. ``has_priorities``: so that jobs are preempted, too. Each is
    of any tenant of the target.
    """

    def __init__(
        self,
        target: Target,
        recipes: Sequence[Recipe],
        *,
        clients: int,
        seed: int,
        queue_length: int | None = None,
        has_priorities: bool = False,
    ) -> None:
        self._target, self._url, self._queue_length = target, target.stack.api_url, queue_length
        self._priorities = PRIORITIES if has_priorities else {"normal": 1}
        self._requests = [recipe.request() for recipe in recipes]
        self._weights = [recipe.weight for recipe in recipes]
        self.log = Log()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=[Random(seed + i)], name=f"client {i}")
            for i in range(clients)
        ]

    def start(self) -> None:
        """Start the clients."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop submitting; returns when every client has its last answer."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, rng: Random) -> None:
        while not self._stop.is_set():
            [recipe] = rng.choices(range(len(self._requests)), self._weights)
            [priority] = rng.choices(list(self._priorities), list(self._priorities.values()))
            tenant = self._choose_tenant(rng)
            job_id = self._submit({**self._requests[recipe], "priority": priority}, tenant)
            if job_id is None:
                continue
            accepted = Accepted(job_id, recipe, tenant)
            self.log.accepted.append(accepted)
            if rng.random() < CANCELLED:
                self._stop.wait(rng.uniform(*CANCEL_S))
                answer = self._ask("POST", f"/v1/jobs/{job_id}/cancel", tenant)
                accepted.is_cancelled = answer is not None
            if self._queue_length is None:
                self._follow(job_id, tenant)
            else:
                self._wait_for_space(self._queue_length)

    def _choose_tenant(self, rng: Random) -> str:
        tenants = self._target.submitters
        return rng.choice(tenants) if len(tenants) > 1 else tenants[0]

    def _submit(self, request: dict[str, Any], tenant: str) -> str | None:
        """Submit until accepted; returns the id of the job. Repeats with the same key make no second job."""
        key = secrets.token_hex(8)
        while True:
            answer = self._ask("POST", "/v1/jobs", tenant, request, {"Idempotency-Key": key})
            if answer is not None and answer.status_code == 202:
                return str(answer.json()["id"])
            if answer is not None and answer.status_code not in OUTAGE_STATUSES:
                if answer.status_code < 500:
                    self._add_violation("POST /v1/jobs", answer)
                return None
            time.sleep(POLL_S)

    def _follow(self, job_id: str, tenant: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline and not self._stop.is_set():
            answer = self._ask("GET", f"/v1/jobs/{job_id}", tenant)
            if answer is not None and (not answer.ok or answer.json()["status"] in ENDED):
                return  # missing jobs are checked at the end
            time.sleep(POLL_S)

    def _wait_for_space(self, queue_length: int) -> None:
        """Wait until fewer jobs than ``queue_length`` wait for a worker."""
        while not self._stop.is_set():
            try:
                if self._target.control.zcard(keys.by_status("queued")) < queue_length:
                    return
            except RedisError:
                pass  # it is away, or starts again
            self._stop.wait(POLL_S)

    def _ask(
        self,
        method: str,
        path: str,
        tenant: str,
        json: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response | None:
        """The answer; None if none came."""
        own = {**self._target.headers(tenant), **(headers or {})}
        try:
            answer = requests.request(method, self._url + path, timeout=ANSWER_S, json=json, headers=own)
        except requests.RequestException as error:
            self.log.answers[type(error).__name__] += 1
            return None
        self.log.answers[str(answer.status_code)] += 1
        if answer.status_code >= 500 and answer.status_code not in OUTAGE_STATUSES:
            self._add_violation(f"{method} {path}", answer)
        return answer

    def _add_violation(self, what: str, answer: requests.Response) -> None:
        self.log.violations.append(f"{what} was answered {answer.status_code}: {answer.text[:200]}")


def upload_loras(target: Target, files: Mapping[str, Path]) -> None:
    """Put LoRAs, by their names, into the bucket."""
    for name, file in files.items():
        target.s3.upload_file(str(file), target.stack.env["SWIFT_LORA_BUCKET"], f"{name}.safetensors")
