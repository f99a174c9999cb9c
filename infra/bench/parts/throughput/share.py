"""Part ``share``: the paper's table on devices that sleep, and what it leaves out: device-seconds.

Latency is measured on as many devices as the paper had; images per device-second with two UNet devices that
share one device per ControlNet, while jobs wait and none is split. A ControlNet takes half as long as a UNet,
so two UNets keep it busy. Next to each figure is the most that these devices could do. Without LoRAs that is
what diffusers reaches: it keeps its one device busy all the time.
"""

import base64
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from infra.bench.harness.fleet import Fleet, running_fleet
from infra.bench.harness.report import Bound, CheckFailed, Measured, Result
from infra.bench.timed.device import CONTROLNET_S, LORA_PATCH_S, TEXT_S, UNET_S, VAE_S
from infra.bench.timed.fleet import devices
from infra.bench.timed.models import CONTROLNETS, NAME, make_lora, make_timed
from infra.emoji_files import CONTROL


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
QUICK_COLUMNS = (COLUMNS[0], COLUMNS[3], COLUMNS[6])
STEPS, UNETS, MOST_UNETS, JOBS_PER_UNET = 50, 2, 3, 3
ENDED_S = 600.0


def measure(quick: bool) -> Measured:
    """The quick form takes three columns and fewer steps, so it has no targets."""
    steps, runs, columns = (10, 1, QUICK_COLUMNS) if quick else (STEPS, 3, COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        catalog = make_timed(Path(folder))
        decoys = {"worker_models": ("emoji-sd",), "worker_controlnets": ("edge",)}
        with (
            running_fleet(catalog=catalog, **decoys) as fleet,
            devices(fleet, unets=UNETS, controlnets=CONTROLNETS),
        ):
            bench = Bench(fleet, steps)
            figures = {"timed_steps_per_image": float(steps), **_throughputs(bench, columns)}
            figures |= _sweep(bench, fleet)
            with devices(fleet, controlnets=CONTROLNETS):
                latencies = {
                    column.name: [bench.latency_s(column) for _ in range(runs)] for column in columns
                }
    figures |= {f"timed_limit_images_per_device_s_{c.name}": _limit(c, steps) for c in columns}
    figures |= {f"timed_latency_{name}": median(values) for name, values in latencies.items()}
    figures |= {
        f"timed_latency_over_katz_{c.name}": figures[f"timed_latency_{c.name}"] / c.katz_s for c in columns
    }
    return Measured(figures, latencies, {} if quick else BOUNDS)


#: Above serial diffusers, which keeps its one device busy all the time.
BOUNDS = {
    f"timed_images_per_device_s_{column.name}": Bound("at_least", 1 / column.diffusers_s)
    for column in COLUMNS
}


def plot(result: Result, left: Any, right: Any) -> None:
    """Latency and images per device-second of every column, beside the paper's."""
    columns = [c for c in COLUMNS if f"timed_latency_{c.name}" in result.figures]
    names = [column.name for column in columns]
    ours = [result.figures[f"timed_latency_{name}"] for name in names]
    places = range(len(names))
    bars = (
        (-0.27, [column.diffusers_s for column in columns], "diffusers, 1 device (paper)"),
        (0.0, [column.katz_s for column in columns], "Katz (paper)"),
        (0.27, ours, f"measured, {result.figures['timed_steps_per_image']:.0f} steps"),
    )
    for shift, values, label in bars:
        left.bar([place + shift for place in places], values, 0.27, label=label)
    left.set_xticks(list(places), names)
    left.set(ylabel="s", title="latency, on the paper's number of devices")
    left.legend()
    mine = [result.figures[f"timed_images_per_device_s_{name}"] for name in names]
    right.bar([place - 0.2 for place in places], [1 / c.diffusers_s for c in columns], 0.4, label="diffusers")
    right.bar([place + 0.2 for place in places], mine, 0.4, label=f"{UNETS} UNet devices, shared ControlNets")
    limits = [result.figures[f"timed_limit_images_per_device_s_{name}"] for name in names]
    right.plot([place + 0.2 for place in places], limits, "k_", label="if no device ever waited")
    right.set_xticks(list(places), names)
    right.set(ylabel="images / device-second", title="throughput")
    right.legend()


def _throughputs(bench: "Bench", columns: Sequence[Column]) -> dict[str, float]:
    bench.images_per_device_s(columns[-1], UNETS)  # everything has been used once
    return {
        f"timed_images_per_device_s_{column.name}": bench.images_per_device_s(column, UNETS)
        for column in columns
    }


def _sweep(bench: "Bench", fleet: Fleet) -> dict[str, float]:
    """One device of a ControlNet, shared by more and more UNet devices, which generate one job each."""
    one_controlnet, figures = COLUMNS[2], dict[str, float]()
    with devices(fleet, unets=MOST_UNETS - UNETS):
        bench.images_per_device_s(one_controlnet, MOST_UNETS, waves=1)  # the new device's first
        for unets in range(1, MOST_UNETS + 1):
            figures[f"share_1net_{unets}unets"] = bench.images_per_device_s(one_controlnet, unets, waves=1)
    figures["share_gain_1net_3unets"] = figures["share_1net_3unets"] / figures["share_1net_1unets"]
    return figures


def _limit(column: Column, steps: int) -> float:
    """Images per device-second, if the devices that have most to do never waited."""
    unet_s = TEXT_S + steps * UNET_S + column.loras * LORA_PATCH_S + VAE_S
    rate = min(UNETS / unet_s, 1 / (steps * CONTROLNET_S) if column.controlnets else math.inf)
    return rate / (UNETS + column.controlnets)


class Bench:
    """Generates jobs of the table's columns, every LoRA cold."""

    def __init__(self, fleet: Fleet, steps: int) -> None:
        self._fleet = fleet
        self._steps = steps
        self._serial: Iterator[int] = count()
        self._image = base64.b64encode(CONTROL.read_bytes()).decode()

    def latency_s(self, column: Column) -> float:
        """One job alone, its CFG branches split over two devices."""
        seconds, job = self._fleet.generate(self._body(column, "on"))
        self._check(job, column)
        split = len(job["receipt"]["spec"]["split_steps"])
        if split < self._steps:
            raise CheckFailed(f"{column.name}: {split} of {self._steps} steps were split")
        print(f"  {column.name}: {seconds:.2f} s", flush=True)
        return seconds

    def images_per_device_s(self, column: Column, unets: int, waves: int = JOBS_PER_UNET) -> float:
        """So many jobs for each of ``unets`` UNet devices at once, each ControlNet on one device."""
        bodies = [self._body(column, "off") for _ in range(unets * waves)]
        ids = [self._fleet.submit(body) for body in bodies]
        jobs = [self._ended(job_id) for job_id in ids]
        for job in jobs:
            self._check(job, column)
        span_s = max(_time(job, "finished_at") for job in jobs) - min(
            _time(job, "started_at") for job in jobs
        )
        rate = len(jobs) / span_s / (unets + column.controlnets)
        print(f"  {column.name}, {unets} UNet devices: {rate:.3f} images per device-second", flush=True)
        return rate

    def _body(self, column: Column, latent: str) -> dict[str, Any]:
        serial = next(self._serial)
        loras = [f"timed-{serial}-{i}" for i in range(column.loras)]
        for i, name in enumerate(loras):
            self._fleet.put_lora(name, make_lora(10 * serial + i))
        return {
            "model": NAME,
            "prompt": "a penguin",
            "seed": serial,
            "num_inference_steps": self._steps,
            "controlnets": [
                {"name": controlnet, "image": self._image} for controlnet in CONTROLNETS[: column.controlnets]
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


def _time(job: dict[str, Any], name: str) -> float:
    return datetime.fromisoformat(job[name]).timestamp()
