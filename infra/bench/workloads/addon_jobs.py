"""A workload's jobs with and without add-ons in a fleet of two devices.

``C`` counts ControlNets and ``L`` LoRAs, as in the paper. A LoRA is always cold: its file is new to the
bucket.
"""

import base64
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from infra.bench.harness.fleet import RELAXED_POLL_S, Fleet, running_fleet
from infra.bench.harness.processes import CONTROLNET_CORE, UNET_CORE, pin
from infra.bench.harness.report import FOLDER, CheckFailed
from infra.bench.workloads.workload import Workload
from infra.emoji_files import CONTROL
from workers.families.base import BaseModel
from workers.families.transformer.model import TransformerModel

CONFIGS = ("0c0l", "1c0l", "0c1l", "1c1l")
#: Two devices as the local stack has them, and one for the UNet with one for ControlNets.
ELASTIC = {"unet_workers": 2, "controlnet_workers": 0}
FIXED_ROLES = {"unet_workers": 1, "controlnet_workers": 1}
PROMPT, GUIDANCE = "a penguin on a teal background", 3.0
#: What timelines call the beginning of a step.
FIRST_STAGES = (BaseModel.stages[0], TransformerModel.stages[0])
#: Of so many jobs, one after another, each of two workers has generated or served one.
WARM_UPS = 30


@dataclass(frozen=True, kw_only=True)
class FinishedJob:
    """A finished job; seconds."""

    job_s: float  # from acceptance to the stored image
    loop_s: float  # from the first step to the image's decoding
    unpatch_s: float  # of it: taking out what an earlier job has left in the weights
    job: dict[str, Any]
    pixels: NDArray[np.uint8]

    def step_figures(self, path_s: float, steps: int) -> dict[str, float]:
        """How long one of its ``steps`` took, and which share of that is the critical path of a step."""
        return {"step_s": self.loop_s / steps, "bound_share": path_s * steps / self.loop_s}


class Addons:
    """Generates one workload's jobs in a running fleet."""

    def __init__(self, fleet: Fleet, workload: Workload, steps: int) -> None:
        self._fleet = fleet
        self._workload = workload
        self._steps = steps
        self._control = base64.b64encode(CONTROL.read_bytes()).decode()

    def generate(self, config: str, seed: int, **changes: Any) -> FinishedJob:
        """One job of ``config``, for example ``1c1l``; raises `CheckFailed` if the ControlNet did not
        work."""
        lora = f"cold-{config}-{seed}-{time.time_ns()}" if "1l" in config else None
        if lora is not None:
            self._upload(lora, seed)
        body = self.request(config, seed, lora) | changes
        _, job = self._fleet.generate(body, poll_s=RELAXED_POLL_S)
        spans = job["timeline"]
        start = min(span["start_s"] for span in spans)
        if "1c" in config and {span["name"] for span in spans}.isdisjoint(
            {f"controlnet {self._workload.controlnets[0]}"}
        ):
            raise CheckFailed(f"job {job['id']}: the ControlNet did not work")
        return FinishedJob(
            job_s=max(span["end_s"] for span in spans) - start,
            loop_s=loop_s(job),
            unpatch_s=sum(span["end_s"] - span["start_s"] for span in spans if span["name"] == "unpatch"),
            job=job,
            pixels=self._fleet.pixels(job),
        )

    def use_every_worker(self) -> None:
        """Generate until each worker has generated or served: what a worker does first takes longer."""
        missing = {name.partition("@")[0] for name in self._fleet.workers()}
        config = "1c1l" if self._workload.loras else "1c0l"
        for seed in range(WARM_UPS):
            spans = self.generate(config, seed, num_inference_steps=1).job["timeline"]
            missing -= {span["worker"].partition("@")[0] for span in spans}
            if not missing:
                return
        raise CheckFailed(f"{', '.join(sorted(missing))} did nothing in {WARM_UPS} jobs")

    def request(self, config: str, seed: int, lora: str | None) -> dict[str, Any]:
        """The body of a submission."""
        body: dict[str, Any] = {
            "prompt": PROMPT,
            "seed": seed,
            "num_inference_steps": self._steps,
            "guidance_scale": GUIDANCE,
            "latent_parallelism": "off",
            **self._workload.job_fields,
        }
        if "1c" in config:
            body["controlnets"] = [{"name": self._workload.controlnets[0], "image": self._control}]
        if lora is not None:
            body["loras"] = [{"name": lora}]
        return body

    def _upload(self, name: str, seed: int) -> None:
        """Put a LoRA of new bytes into the bucket, as people do: nobody has seen it before."""
        path = FOLDER / f"cold-{os.getpid()}.safetensors"
        with safe_open(self._workload.loras[0], framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        save_file(tensors, path, metadata={"name": name, "seed": str(seed)})
        self._fleet.put_lora(name, path.read_bytes())
        path.unlink()


@contextmanager
def running_addons(
    workload: Workload, steps: int, roles: Mapping[str, int] = MappingProxyType(FIXED_ROLES)
) -> Iterator[Addons]:
    """A fresh fleet for the workload, each worker on a core of its own; servers run where there is time.

    Every worker has generated or served before the first measured job.
    """
    if (os.cpu_count() or 1) <= CONTROLNET_CORE:
        raise CheckFailed("two cores are needed: one for each worker")
    home = FOLDER / f"stack-{roles['unet_workers']}-{roles['controlnet_workers']}"
    with running_fleet(None, home, catalog=workload.catalog, **roles) as fleet:
        workers = sorted(
            (name for name in fleet.stack.pids() if name.startswith(("unet", "controlnet"))), reverse=True
        )
        for name, core in zip(workers, (UNET_CORE, CONTROLNET_CORE), strict=True):
            pin(fleet.stack.pids()[name], core)
        addons = Addons(fleet, workload, steps)
        addons.use_every_worker()
        yield addons


def loop_s(job: dict[str, Any]) -> float:
    """Seconds of a job's denoising loop."""
    start = min(span["start_s"] for span in job["timeline"] if span["name"] in FIRST_STAGES)
    return float(next(span["start_s"] for span in job["timeline"] if span["name"] == "vae") - start)
