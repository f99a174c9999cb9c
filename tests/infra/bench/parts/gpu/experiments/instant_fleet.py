"""A fleet that answers at once, with jobs of a few steps that nobody computed."""

import io
import json
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from infra.bench.harness.fleet import Fleet
from infra.bench.parts.gpu.context import Context
from infra.bench.parts.gpu.fleet.fault_requests import REQUEST, take
from infra.bench.parts.gpu.fleet.jobs import GpuFleet
from infra.local.stack import Stack

#: Of one job's timeline: steps, and what the VAE takes.
STEP_S, VAE_S = 0.1, 0.2


@dataclass(frozen=True)
class InstantFleet(Fleet):
    """Two UNet workers; one of them ends and comes back in a job before which a fault was requested."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    loras: dict[str, bytes] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        if body is not None:
            return json.dumps(self._submitted(body)).encode()
        if path == "/v1/fleet":
            pids = self.stack.pids().values()
            return json.dumps({"workers": [{"pid": pid, "unavailable_reasons": []} for pid in pids]}).encode()
        if path.endswith("/images/0"):
            job = self.jobs[path.split("/")[-3]]
            return png(job["request"]["seed"])
        return json.dumps(self.jobs[path.rpartition("/")[2]]).encode()

    def generate(self, body: Mapping[str, Any], **polling: Any) -> tuple[float, dict[str, Any]]:
        job = self._submitted(body)
        return job["timeline"][-1]["end_s"], job

    def put_lora(self, name: str, data: bytes) -> None:
        self.loras[name] = data

    def _submitted(self, body: Mapping[str, Any]) -> dict[str, Any]:
        worker = "unet1@test"
        if take(self.stack.home / REQUEST):
            write_pid(self.stack.home, "unet1", 3)
            worker = "unet2@test"
        steps, job_id = int(body.get("num_inference_steps", 4)), f"job{len(self.jobs)}"
        loras = [lora["name"] for lora in body.get("loras", [])]
        assert self.loras.keys() >= set(loras)
        # The patch of a LoRA takes as long as a step
        starts = [STEP_S * (i + (i > 1 and bool(loras))) for i in range(steps)]
        spans = [
            *({"name": "encoder", "start_s": start, "end_s": start + STEP_S} for start in starts),
            {"name": "vae", "start_s": starts[-1] + STEP_S, "end_s": starts[-1] + STEP_S + VAE_S},
        ]
        self.jobs[job_id] = {
            "id": job_id,
            "status": "succeeded",
            "created_at": datetime.fromtimestamp(time.time(), UTC).isoformat(),
            "request": dict(body),
            "links": {"self": f"/v1/jobs/{job_id}"},
            "progress": {"total": steps},
            "timeline": [{**span, "worker": worker} for span in spans],
            "images": [{"url": f"/v1/jobs/{job_id}/images/0"}],
            "receipt": {"loras": [{"name": name, "step": 2} for name in loras]},
        }
        return self.jobs[job_id]


def instant_fleet(context: Context, folder: Path) -> GpuFleet:
    """A fleet that the run's experiments take for their own."""
    (folder / "pids").mkdir()
    for number, name in enumerate(("unet1", "unet2"), start=1):
        write_pid(folder, name, number)
    fleet = GpuFleet(context, InstantFleet(Stack(home=folder, env={})))
    context.kept("fleets", lambda: {"plain": (nullcontext(), fleet)})
    return fleet


def write_pid(home: Path, name: str, pid: int) -> None:
    (home / "pids" / f"{name}.pid").write_text(str(pid))


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), seed % 256, np.uint8)).save(file, "PNG")
    return file.getvalue()
