"""A whole stack on free ports, used over HTTP."""

import http.client
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.bench.harness.ports import stack_ports
from infra.bench.harness.report import FOLDER, CheckFailed
from infra.local.checks import only_stack_in
from infra.local.s3_client import make_s3_client
from infra.local.stack import Stack, running_stack
from shared.jobs.record import ENDED
from shared.settings import Settings

#: One answer of the API while everything is busy; one job from submission to its end.
ANSWER_S, JOB_S = 60.0, 300.0
#: Between two questions about a job; what `Fleet.generate` measures is late by up to this.
POLL_S = 0.005
#: The same where a late answer costs nothing.
RELAXED_POLL_S = 0.2


@dataclass(frozen=True)
class Fleet:
    """A running stack."""

    stack: Stack

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the API."""
        parts = urlsplit(self.stack.api_url)
        assert parts.hostname is not None
        assert parts.port is not None, "the port was chosen here"
        return parts.hostname, parts.port

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        """The body of an answer; raises `CheckFailed` for a status of 400 or more."""
        with closing(http.client.HTTPConnection(*self.address, timeout=ANSWER_S)) as connection:
            return _exchange(connection, method, path, body)

    def submit(self, body: Mapping[str, Any]) -> str:
        """Queue a job; returns its id."""
        return str(json.loads(self.ask("POST", "/v1/jobs", body))["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """A job as it is now."""
        found: dict[str, Any] = json.loads(self.ask("GET", f"/v1/jobs/{job_id}"))
        return found

    def generate(
        self,
        body: Mapping[str, Any],
        *,
        quiet_s: float = 0,
        poll_s: float = POLL_S,
        on_poll: Callable[[dict[str, Any]], None] | None = None,
    ) -> tuple[float, dict[str, Any]]:
        """Seconds from submission until the API says that the job has ended, and the job.

        The job is polled every ``poll_s``, first after ``quiet_s``: polls take CPU from the job. Where times
        come from the job's timeline, `RELAXED_POLL_S` is enough. Its events would arrive sooner, but a job
        whose events are followed renders previews. ``on_poll`` gets every response but the last.
        Raises `CheckFailed` unless the job succeeded.
        """
        began = time.perf_counter()
        path = str(json.loads(self.ask("POST", "/v1/jobs", body))["links"]["self"])
        time.sleep(quiet_s)  # longer than the API keeps an idle connection
        with closing(http.client.HTTPConnection(*self.address, timeout=ANSWER_S)) as connection:
            while True:
                job: dict[str, Any] = json.loads(_exchange(connection, "GET", path))
                took_s = time.perf_counter() - began
                if job["status"] in ENDED or took_s > JOB_S:
                    break
                if on_poll is not None:
                    on_poll(job)
                time.sleep(poll_s)
        if job["status"] != "succeeded":
            raise CheckFailed(f"job {job['id']} is {job['status']} after {took_s:.0f} s: {job['error']}")
        return took_s, job

    def workers(self) -> list[str]:
        """Names of the live workers."""
        return [str(worker["name"]) for worker in json.loads(self.ask("GET", "/v1/fleet"))["workers"]]

    def put_lora(self, name: str, data: bytes) -> None:
        """Put a LoRA into the bucket, with S3's own client."""
        env = self.stack.env
        s3 = make_s3_client(env)
        s3.put_object(Bucket=env["SWIFT_LORA_BUCKET"], Key=f"{name}.safetensors", Body=data)

    def pixels(self, job: Mapping[str, Any]) -> NDArray[np.uint8]:
        """The first image of a job, ``(h, w, 3)``."""
        return read_pixels(self.ask("GET", job["images"][0]["url"]))

    def wait_for_status(self, job_id: str, status: str) -> None:
        """Return once the job has ``status``; raises `CheckFailed` if it ends in another."""
        deadline = time.monotonic() + JOB_S
        while (now := self.job(job_id)["status"]) != status:
            if now in ENDED or time.monotonic() > deadline:
                raise CheckFailed(f"job {job_id} is {now}, not {status}")
            time.sleep(0.1)


@contextmanager
def running_fleet(
    environment: Mapping[str, str] | None = None,
    home: Path = FOLDER / "stack",
    /,
    *,
    unet_workers: int,
    controlnet_workers: int,
    **changes: object,
) -> Iterator[Fleet]:
    """A fresh stack of so many workers. UNet workers compute ControlNets, too, unless ``changes`` forbid it.

    ``environment`` holds further variables for its processes; ``changes`` are settings. Two that run at once
    need folders of their own, ``home``; what an earlier run has left there is removed.
    """
    home.mkdir(parents=True, exist_ok=True)
    with only_stack_in(home):
        shutil.rmtree(home)  # no job of an earlier run
    roles = {"unet_workers": unet_workers, "controlnet_workers": controlnet_workers}
    settings = Settings.model_validate({"home": home, **stack_ports(), **roles, **changes})
    with running_stack(settings, env=environment) as stack:
        yield Fleet(stack)


def _exchange(
    connection: http.client.HTTPConnection, method: str, path: str, body: Mapping[str, Any] | None = None
) -> bytes:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status >= 400:
        raise CheckFailed(f"{method} {path} answers {answer.status}: {content[:300]!r}")
    return content


def read_pixels(png: bytes) -> NDArray[np.uint8]:
    """Pixels of a PNG, ``(h, w, 3)``."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.uint8)
