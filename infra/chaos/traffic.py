"""Clients that submit jobs without a pause: with an Idempotency-Key, and again until they are accepted."""

import base64
import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import requests

from infra.chaos.target import ANSWER_S, Target
from infra.emoji_files import CONTROL, EMOJI
from shared.jobs.record import ENDED

#: A client waits for its job no longer; the checks at the end wait for the others.
WAIT_S = 90.0
POLL_S = 0.3
#: Fraction of jobs that are cancelled after a moment.
CANCELLED = 0.06
LORAS = ("twemoji", "outline")
#: Statuses with which the API reports an outage; any other of 500 and above is a violation.
OUTAGE_STATUSES = (503,)


def recipes() -> list[dict[str, Any]]:
    """Requests that determine their images: equal requests must give equal pixels."""
    control = {"name": "edge", "image": base64.b64encode(CONTROL.read_bytes()).decode()}
    lora = {"name": LORAS[0], "scale": 0.8}
    exact = {"lora_loading": {"mode": "exact"}, "num_inference_steps": 12, "seed": 11}
    return [
        {"prompt": "a penguin on a teal background", **exact},
        {"prompt": "a red car", "controlnets": [control], **exact},
        {"prompt": "a cat", "loras": [lora], **exact},
        {"prompt": "a green tree", "controlnets": [control], "loras": [lora], **exact},
        {"prompt": "a house", "loras": [lora, {"name": LORAS[1], "scale": 0.5}], **exact},
        {"prompt": "a fish", "num_images": 2, **exact, "num_inference_steps": 30},
        {"prompt": "a long job", "controlnets": [control], **exact, "num_inference_steps": 100},
    ]


@dataclass
class Accepted:
    """A job that was answered with 202."""

    job_id: str
    recipe: int
    is_cancelled: bool = False


@dataclass
class Log:
    """What the clients saw. Written by many threads: appending to a list is atomic."""

    accepted: list[Accepted] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


class Traffic:
    """Runs ``clients`` threads; each waits for its job before it submits the next."""

    def __init__(self, target: Target, clients: int, seed: int) -> None:
        self._url = target.stack.api_url
        self._recipes = recipes()
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
            recipe = rng.randrange(len(self._recipes))
            job_id = self._submit(recipe)
            if job_id is None:
                continue
            accepted = Accepted(job_id, recipe)
            self.log.accepted.append(accepted)
            if rng.random() < CANCELLED:
                self._stop.wait(rng.uniform(0, 1))
                accepted.is_cancelled = self._ask("POST", f"/v1/jobs/{job_id}/cancel") is not None
            self._follow(job_id)

    def _submit(self, recipe: int) -> str | None:
        """Submit until accepted; returns the id of the job. Repeats with the same key make no second job."""
        key = secrets.token_hex(8)
        while True:
            answer = self._ask(
                "POST", "/v1/jobs", json=self._recipes[recipe], headers={"Idempotency-Key": key}
            )
            if answer is not None and answer.status_code == 202:
                return str(answer.json()["id"])
            if answer is not None and answer.status_code not in OUTAGE_STATUSES:
                if answer.status_code < 500:
                    self._add_violation("POST /v1/jobs", answer)
                return None
            time.sleep(POLL_S)

    def _follow(self, job_id: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline and not self._stop.is_set():
            answer = self._ask("GET", f"/v1/jobs/{job_id}")
            if answer is not None and (not answer.ok or answer.json()["status"] in ENDED):
                return  # missing jobs are checked at the end
            time.sleep(POLL_S)

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response | None:
        """The answer; None if none came."""
        try:
            answer = requests.request(method, self._url + path, timeout=ANSWER_S, **options)
        except requests.RequestException as error:
            self.log.answers[type(error).__name__] += 1
            return None
        self.log.answers[str(answer.status_code)] += 1
        if answer.status_code >= 500 and answer.status_code not in OUTAGE_STATUSES:
            self._add_violation(f"{method} {path}", answer)
        return answer

    def _add_violation(self, what: str, answer: requests.Response) -> None:
        self.log.violations.append(f"{what} was answered {answer.status_code}: {answer.text[:200]}")


def upload_loras(target: Target) -> None:
    """Put the embedded LoRAs into the bucket."""
    for name in LORAS:
        file = EMOJI / "loras" / f"{name}.safetensors"
        target.s3.upload_file(str(file), target.stack.env["SWIFT_LORA_BUCKET"], file.name)
