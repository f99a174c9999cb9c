"""Three fleets of two devices, a core each, for the same stream of jobs: elastic, fixed and plain.

- elastic: two UNet workers that compute ControlNets for each other;
- fixed: a UNet worker, and a ControlNet worker that computes all ControlNets;
- plain: two Celery workers with diffusers (`infra.bench.baselines.celery_baseline`).

All three are alive at once and have work by turns. The first two share their servers, not their models nor
their folders of LoRAs, as if they were on hosts of their own.
"""

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from infra.bench.baselines.celery_fleet import BaselineFleet, running_baseline_fleet
from infra.bench.harness.fleet import Fleet, read_pixels, running_fleet
from infra.bench.harness.processes import CONTROLNET_CORE, UNET_CORE, cpu_s, pin
from infra.bench.harness.s3 import Storage
from infra.bench.harness.workers import Worker, running_workers, wait_until_loaded
from infra.bench.workloads.trace_jobs import KNOWN_CONTROLNETS, TraceJob
from infra.emoji_files import CONTROL, EMOJI
from shared.settings import Settings

ELASTIC, FIXED, PLAIN = "elastic", "fixed", "plain"
CORES = (UNET_CORE, CONTROLNET_CORE)
GUIDANCE = 3.0
MODEL = "emoji-sd"
#: What is added to the names of the fixed fleet's model and ControlNets: no other worker serves those.
SUFFIX = "-fixed"
WARM_UP = [TraceJob(0.0, "a warm up", -1 - i, [("edge", 1.0), ("colour", 1.0)], []) for i in range(4)]
WARM_UP_STEPS = 2


class Replayed(NamedTuple):
    """What came of a stream."""

    latencies_s: list[float]  # from arrival to the stored image
    images_per_s: float  # from the first arrival to the last stored image
    cpu_s_per_image: float  # of the workers
    #: Whether each job was done by its `eta_p90_s`; of a fleet that tells one.
    done_by_p90: Sequence[bool] = ()


class TraceFleet(Protocol):
    """One of the three."""

    def replay(self, stream: Sequence[TraceJob], steps: int) -> Replayed:
        """Send each job at its time, and wait for all."""

    def image(self, job: TraceJob, steps: int) -> bytes:
        """The PNG of a job whose LoRAs take effect from the first step on."""


class Place(NamedTuple):
    """Where fleets find LoRAs and leave images."""

    home: Path
    storage: Storage
    url: str  # of S3, over the slow line


@contextmanager
def running_trace_fleets(place: Place) -> Iterator[Mapping[str, TraceFleet]]:
    """The three by name, each worker on its core, everything loaded."""
    plain_settings = Settings(home=place.home / "plain", s3_endpoint_url=place.url)
    own = {"worker_models": (MODEL,), "worker_controlnets": KNOWN_CONTROLNETS}
    with (
        running_baseline_fleet(
            plain_settings,
            place.storage.environment,
            workers=len(CORES),
            generation={"guidance_scale": GUIDANCE},
        ) as plain,
        running_fleet(
            place.storage.environment,
            s3_endpoint_url=place.url,
            catalog=_write_catalog(place.home),
            unet_workers=len(CORES),
            controlnet_workers=0,
            **own,
        ) as fleet,
        running_workers(fleet, _fixed_workers(place)) as fixed,
    ):
        pids = fleet.stack.pids()
        elastic = [pids[f"unet{i + 1}"] for i in range(len(CORES))]
        fleets: dict[str, TraceFleet] = {
            PLAIN: PlainTraceFleet(plain, place.storage),
            ELASTIC: SwiftTraceFleet(fleet, elastic),
            FIXED: SwiftTraceFleet(fleet, fixed, SUFFIX),
        }
        for workers in (plain.pids, elastic, fixed):
            for core, pid in zip(CORES, workers, strict=True):
                pin(pid, core)
        for each in fleets.values():
            each.replay(WARM_UP, WARM_UP_STEPS)
        wait_until_loaded(fleet, [*elastic, *fixed])
        yield fleets


class SwiftTraceFleet:
    """Workers of this fleet; ``suffix``: of the names of their model and ControlNets."""

    def __init__(self, fleet: Fleet, pids: Sequence[int], suffix: str = "") -> None:
        self._fleet, self._pids, self._suffix = fleet, list(pids), suffix
        self._control = base64.b64encode(CONTROL.read_bytes()).decode()

    def replay(self, stream: Sequence[TraceJob], steps: int) -> Replayed:
        """Send each job at its time, and wait for all; raises `CheckFailed` unless all succeed."""
        began, before_s, sent = time.time(), self._cpu_s(), []
        for job in stream:
            time.sleep(max(0.0, began + job.at_s - time.time()))
            sent.append((time.time(), self._fleet.submit(self._body(job, steps))))
        for _, job_id in sent:
            self._fleet.wait_for_status(job_id, "succeeded")
        spent_s = self._cpu_s() - before_s
        jobs = [self._fleet.job(job_id) for _, job_id in sent]
        stored = [_stored_at(job) for job in jobs]
        latencies_s = [end - at for end, (at, _) in zip(stored, sent, strict=True)]
        wanted = [(job["estimate"] or {}).get("eta_p90_s") for job in jobs]
        kept = [
            late_s <= p90_s for late_s, p90_s in zip(latencies_s, wanted, strict=True) if p90_s is not None
        ]
        return Replayed(latencies_s, len(sent) / (max(stored) - sent[0][0]), spent_s / len(sent), kept)

    def image(self, job: TraceJob, steps: int) -> bytes:
        """The first image, in mode ``exact``."""
        _, ended = self._fleet.generate(self._body(job, steps) | {"lora_loading": {"mode": "exact"}})
        return self._fleet.ask("GET", ended["images"][0]["url"])

    def _cpu_s(self) -> float:
        return sum(map(cpu_s, self._pids))

    def _body(self, job: TraceJob, steps: int) -> dict[str, Any]:
        controlnets = [
            {"name": f"{name}{self._suffix}", "image": self._control, "conditioning_scale": scale}
            for name, scale in job.controlnets
        ]
        return {
            "model": f"{MODEL}{self._suffix}",
            "prompt": job.prompt,
            "seed": abs(job.seed),
            "num_inference_steps": steps,
            "guidance_scale": GUIDANCE,
            "controlnets": controlnets,
            "loras": [{"name": name, "scale": scale} for name, scale in job.loras],
        }


class PlainTraceFleet:
    """Celery workers with diffusers."""

    def __init__(self, plain: BaselineFleet, storage: Storage) -> None:
        self._plain, self._storage = plain, storage

    def replay(self, stream: Sequence[TraceJob], steps: int) -> Replayed:
        """Send each job at its time, and wait for all."""
        before_s = self._plain.cpu_s()
        ended = self._plain.replay(stream, steps=steps)
        spent_s = self._plain.cpu_s() - before_s
        latencies_s = [ended[job.seed].after_s for job in stream]
        ends = [job.at_s + late_s for job, late_s in zip(stream, latencies_s, strict=True)]
        return Replayed(latencies_s, len(stream) / (max(ends) - stream[0].at_s), spent_s / len(stream))

    def image(self, job: TraceJob, steps: int) -> bytes:
        """The image; LoRAs are always fused before the first step."""
        ended = self._plain.replay([job._replace(at_s=0.0)], steps=steps)
        return self._storage.image(ended[job.seed].key)


def largest_difference(one: bytes, other: bytes) -> int:
    """Of two PNGs' pixels, of 255."""
    first, second = (read_pixels(png).astype("int16") for png in (one, other))
    return int(abs(first - second).max())


def _stored_at(job: Mapping[str, Any]) -> float:
    """When a job's image was stored; its timeline counts from its submission."""
    created_at = datetime.fromisoformat(job["created_at"]).timestamp()
    return created_at + max(float(span["end_s"]) for span in job["timeline"])


def _fixed_workers(place: Place) -> list[Worker]:
    home = place.home / FIXED
    home.mkdir(parents=True)
    own = {**place.storage.environment, "SWIFT_HOME": str(home.resolve())}
    controlnets = ",".join(f"{name}{SUFFIX}" for name in KNOWN_CONTROLNETS)
    unet = {"SWIFT_WORKER_MODELS": f"{MODEL}{SUFFIX}", "SWIFT_WORKER_CONTROLNETS": "none"}
    return [
        Worker("fixed-unet", "unet", "workers.unet.app", own | unet),
        Worker(
            "fixed-controlnet",
            "controlnet",
            "workers.controlnet.app",
            own | {"SWIFT_WORKER_CONTROLNETS": controlnets},
        ),
    ]


def _write_catalog(home: Path) -> Path:
    """The embedded model and its ControlNets, and all of them once more for the fixed fleet."""
    text = f'default_model = "{MODEL}"\n'
    for suffix in ("", SUFFIX):
        source = EMOJI.resolve()
        text += f'\n[models.{MODEL}{suffix}]\nsource = "{source}/model"\nscheduler = "ddim"\n'
        for name in KNOWN_CONTROLNETS:
            text += f'\n[controlnets.{name}{suffix}]\nsource = "{source}/controlnets/{name}"\n'
            text += f'model = "{MODEL}{suffix}"\n'
    path = home / "catalog.toml"
    path.write_text(text)
    return path
