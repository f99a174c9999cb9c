"""The columns of the paper's table: jobs with so many ControlNets and LoRAs, for a fleet of timed devices."""

import base64
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import count
from typing import Any, NamedTuple

from infra.bench.harness.fleet import Fleet
from infra.bench.harness.report import CheckFailed
from infra.bench.timed.models import make_lora
from infra.emoji_files import CONTROL

ENDED_S = 600.0
_SERIAL: Iterator[int] = count()


class Column(NamedTuple):
    """A column of the paper's table: seconds an image on H800, medians of its artifact's logs."""

    controlnets: int
    loras: int
    diffusers_s: float  # one device
    katz_s: float
    katz_devices: int

    @property
    def name(self) -> str:
        """As the paper says it."""
        return f"{self.controlnets}c{self.loras}l"


COLUMNS = (
    Column(0, 0, 2.88, 1.71, 2),
    Column(0, 1, 6.03, 1.84, 2),
    Column(1, 0, 4.26, 1.74, 4),
    Column(1, 1, 7.17, 1.87, 4),
    Column(2, 2, 13.14, 1.99, 6),
    Column(3, 0, 7.09, 1.80, 8),
    Column(3, 2, 14.44, 2.02, 8),
)


class ColumnJobs:
    """Generates a column's jobs with one base model and its ControlNets; every LoRA is cold."""

    def __init__(self, fleet: Fleet, steps: int, model: str, controlnets: Sequence[str]) -> None:
        self._fleet = fleet
        self._steps = steps
        self._model = model
        self._controlnets = controlnets
        self._image = base64.b64encode(CONTROL.read_bytes()).decode()

    def alone(self, column: Column) -> tuple[float, bool]:
        """Seconds of one job, and whether the CFG branches of all its steps were split over two devices."""
        seconds, job = self._fleet.generate(self._body(column, "on"))
        self._check(job, column)
        return seconds, len(job["receipt"]["spec"]["split_steps"]) == self._steps

    def at_once(self, column: Column, jobs: int) -> list[dict[str, Any]]:
        """So many jobs, submitted together, once all have ended; raises `CheckFailed`."""
        bodies = [self._body(column, "off") for _ in range(jobs)]
        ids = [self._fleet.submit(body) for body in bodies]
        ended = [self._ended(job_id) for job_id in ids]
        for job in ended:
            self._check(job, column)
        return ended

    def _body(self, column: Column, latent: str) -> dict[str, Any]:
        serial = next(_SERIAL)
        loras = [f"timed-{serial}-{i}" for i in range(column.loras)]
        for i, name in enumerate(loras):
            self._fleet.put_lora(name, make_lora(10 * serial + i))
        return {
            "model": self._model,
            "prompt": f"penguin number {serial}",  # embeddings of prompts are shared
            "seed": serial,
            "num_inference_steps": self._steps,
            "controlnets": [
                {"name": controlnet, "image": self._image}
                for controlnet in self._controlnets[: column.controlnets]
            ],
            "loras": [{"name": name} for name in loras],
            "latent_parallelism": latent,
        }

    def _ended(self, job_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + ENDED_S
        while (job := self._fleet.job(job_id))["finished_at"] is None:
            if time.monotonic() > deadline:
                raise CheckFailed(f"job {job_id} has not ended after {ENDED_S:.0f} s")
            time.sleep(0.1)
        return job

    def _check(self, job: dict[str, Any], column: Column) -> None:
        """Raises `CheckFailed` unless every ControlNet and every LoRA has taken part."""
        if job["status"] != "succeeded":
            raise CheckFailed(f"job {job['id']} is {job['status']}: {job['error']}")
        receipt = job["receipt"]
        if (
            not all(controlnet["sha256"] for controlnet in receipt["controlnets"])
            or len(receipt["loras"]) != column.loras
        ):
            raise CheckFailed(f"job {job['id']}: not everything took part: {receipt}")


def finished_s(job: dict[str, Any]) -> float:
    """When a job's image was stored, in seconds since the epoch."""
    return datetime.fromisoformat(job["finished_at"]).timestamp()


def started_s(job: dict[str, Any]) -> float:
    """When a worker took it."""
    return datetime.fromisoformat(job["started_at"]).timestamp()


def controlnet_workers(jobs: Sequence[dict[str, Any]]) -> set[str]:
    """The workers that computed ControlNets for these jobs."""
    spans = (span for job in jobs for span in job["timeline"])
    return {span["worker"] for span in spans if span["name"].startswith("controlnet ")}
