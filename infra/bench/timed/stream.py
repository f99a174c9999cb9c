"""Jobs of the simulation, sent to a real fleet of timed devices."""

import base64
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from infra.bench.harness.fleet import Fleet
from infra.bench.simulate.traffic import SimulatedJob
from infra.bench.timed.models import make_lora
from infra.emoji_files import CONTROL

GUIDANCE = 3.0


class Replayed(NamedTuple):
    """What came of a stream."""

    latencies_s: list[float]  # from submission to the stored image, in the order of the jobs
    jobs: list[dict[str, Any]]  # what the API says of them
    span_s: float  # from the first submission to the last stored image


class Stream:
    """Sends jobs to a running fleet whose catalog holds ``models`` and ``controlnets``, in this order."""

    def __init__(
        self, fleet: Fleet, models: Sequence[str], controlnets: Sequence[str], *, stored: Iterable[int] = ()
    ) -> None:
        """``stored``: LoRAs that are in the bucket already."""
        self._fleet, self._models, self._controlnets = fleet, models, controlnets
        self._image = base64.b64encode(CONTROL.read_bytes()).decode()
        self._stored = set(stored)
        self._seed = 0

    def replay(self, jobs: Sequence[SimulatedJob], **more: Any) -> Replayed:
        """Send each job at its time and wait for all; ``more`` are fields of every request.

        Raises `CheckFailed` unless all succeed.
        """
        for lora in sorted({lora for job in jobs for lora in job.loras} - self._stored):
            self._fleet.put_lora(lora_name(lora), make_lora(lora))
            self._stored.add(lora)
        began, ids = time.perf_counter(), []
        for job in jobs:
            time.sleep(max(0.0, began + job.at_s - jobs[0].at_s - time.perf_counter()))
            ids.append((time.perf_counter(), self._fleet.submit(self._body(job) | more)))
        ended = []
        for _, job_id in ids:
            self._fleet.wait_for_status(job_id, "succeeded")
            ended.append(self._fleet.job(job_id))
        latencies_s = [max(float(span["end_s"]) for span in job["timeline"]) for job in ended]
        ends = (at + latency_s for (at, _), latency_s in zip(ids, latencies_s, strict=True))
        return Replayed(latencies_s, ended, max(ends) - began)

    def _body(self, job: SimulatedJob) -> dict[str, Any]:
        self._seed += 1
        return {
            "model": self._models[job.model],
            "prompt": f"penguin number {self._seed}",
            "seed": self._seed,
            "num_inference_steps": job.steps,
            "guidance_scale": GUIDANCE,
            "controlnets": [
                {"name": self._controlnets[controlnet], "image": self._image}
                for controlnet in job.controlnets
            ],
            "loras": [{"name": lora_name(lora)} for lora in job.loras],
        }


def lora_name(lora: int) -> str:
    """What the LoRA of that rank is called."""
    return f"timed-lora-{lora}"
