"""Part ``share``: the paper's table on devices that sleep, and what it leaves out: device-seconds.

Images per device-second while jobs wait, on as many elastic, fixed and plain devices
(`infra.bench.parts.throughput.saturated`); latency on as many devices as the paper had; and one ControlNet
device that more and more UNet devices share. An image has fewer steps than the paper's, each as much longer:
it takes as long, and what the processes compute on a few cores is little beside it.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from infra.bench.harness.fleet import Fleet, running_fleet
from infra.bench.harness.report import Bound, CheckFailed, Measured, Result
from infra.bench.parts.throughput.saturated import (
    ELASTIC,
    FIXED,
    FIXED_CONTROLNETS,
    FIXED_NAME,
    MEMORY_BYTES,
    PLAIN,
    Sizes,
    SwiftFleet,
    measure_saturated,
    running_saturated_fleets,
)
from infra.bench.timed.columns import COLUMNS, Column, ColumnJobs, finished_s, started_s
from infra.bench.timed.device import CONTROLNET_S, LORA_PATCH_S, TEXT_S, UNET_S, VAE_S
from infra.bench.timed.fleet import devices
from infra.bench.timed.models import CONTROLNETS, NAME, make_timed
from infra.bench.timed.times import Times

#: Steps of the paper's images.
STEPS = 50
#: UNet devices of one image: one for each CFG branch.
UNETS = 2
MOST_UNETS = 3
#: On a busy machine a second UNet device may come late to a job's first step.
MOST_NOT_SPLIT = 10
#: What serial diffusers takes by its parts may differ so much from the paper's seconds.
PAPER_TOLERANCE = 0.04


class Form(NamedTuple):
    """How much is measured."""

    sizes: Sizes
    latencies: Sequence[Column]
    runs: int  # of each of them
    has_sweep: bool


FULL = Form(Sizes(Times(1.0, 5.0), STEPS // 5, 4, COLUMNS, 3), COLUMNS, 2, True)
#: Everything three times as fast.
QUICK = Form(
    Sizes(Times(0.3, 5.0), STEPS // 5, 2, (COLUMNS[0], COLUMNS[3], COLUMNS[6]), 1),
    COLUMNS[:1],
    1,
    False,
)
#: Times diffusers' images per device-second. Without LoRAs nothing is gained: diffusers is never idle.
TARGETS = {"0c0l": 0.97, "1c0l": 0.97, "3c0l": 0.97, "0c1l": 1.5, "1c1l": 1.5, "2c2l": 1.9, "3c2l": 1.8}


def measure(quick: bool) -> Measured:
    """The quick form takes three columns once, on two devices of each fleet, so it has no targets."""
    form = QUICK if quick else FULL
    sizes = form.sizes
    figures = {
        "devices": float(sizes.devices),
        "stretch": sizes.times.stretch,
        "step_stretch": sizes.times.step_stretch,
        "timed_steps_per_image": float(sizes.steps),
    }
    with tempfile.TemporaryDirectory() as folder:
        controlnets = (*CONTROLNETS, *FIXED_CONTROLNETS)
        catalog = make_timed(Path(folder), (NAME, FIXED_NAME), controlnets, *sizes.times)
        decoy = {"worker_models": ("emoji-sd",), "worker_controlnets": ("none",)}
        with running_fleet(catalog=catalog, unet_workers=1, controlnet_workers=0, **decoy) as fleet:
            with running_saturated_fleets(fleet, catalog, sizes) as fleets:
                rates = measure_saturated(fleets, sizes)
                shares = [
                    share
                    for each in fleets.values()
                    if isinstance(each, SwiftFleet)
                    for share in each.cpu_shares
                ]
            figures |= {"cpu_share_of_steps": max(shares)} | compare(rates, sizes)
            if form.has_sweep:
                figures |= _sweep(fleet, sizes)
            latencies, not_split = _latencies(fleet, form)
    figures |= _against_katz(latencies)
    samples = {f"{name}_{column}": runs for name, by in rates.items() for column, runs in by.items()}
    samples |= {**latencies, "cpu_share_of_steps": shares}
    notes = [f"{not_split} of the jobs alone do not count: not all of their steps were split"]
    return Measured(figures, samples, {} if quick else BOUNDS, notes if not_split else ())


def compare(rates: Mapping[str, Mapping[str, Sequence[float]]], sizes: Sizes) -> dict[str, float]:
    """Medians of the rates and of their rounds' ratios to the plain fleet's.

    Raises `CheckFailed` if the plain fleet does not take the paper's seconds an image.
    """
    figures: dict[str, float] = {}
    for column in sizes.columns:
        name, plain = column.name, rates[PLAIN][column.name]
        over_paper = 1 / (median(plain) * column.diffusers_s)
        if abs(over_paper - 1) > PAPER_TOLERANCE and sizes.times.stretch >= 1:
            raise CheckFailed(
                f"{name}: a plain device takes {over_paper:.3f} of the paper's seconds an image"
            )
        figures[f"diffusers_s_over_paper_{name}"] = over_paper
        figures[f"diffusers_images_per_device_s_{name}"] = median(plain)
        figures[f"timed_limit_images_per_device_s_{name}"] = 1 / least_s(column)
        for fleet, own, ratio in (
            (ELASTIC, "timed_images_per_device_s", "saturated_vs_diffusers"),
            (FIXED, "fixed_images_per_device_s", "fixed_vs_diffusers"),
        ):
            figures[f"{own}_{name}"] = median(rates[fleet][name])
            ratios = [ours / theirs for ours, theirs in zip(rates[fleet][name], plain, strict=True)]
            figures[f"{ratio}_{name}"] = median(ratios)
    return figures


def least_s(column: Column) -> float:
    """Seconds of a device that an image takes at least: all its parts, a LoRA's patch, and no wait."""
    step_s = UNET_S + column.controlnets * CONTROLNET_S
    return TEXT_S + STEPS * step_s + (LORA_PATCH_S if column.loras else 0.0) + VAE_S


BOUNDS = {
    f"saturated_vs_diffusers_{column.name}": Bound(
        "at_least", TARGETS[column.name], limit=round(column.diffusers_s / least_s(column), 3)
    )
    for column in COLUMNS
} | {"cpu_share_of_steps": Bound("at_most", 0.05)}


def plot(result: Result, left: Any, right: Any) -> None:
    """Latency and images per device-second of every column, beside the paper's."""
    columns = [c for c in COLUMNS if f"timed_latency_{c.name}" in result.figures]
    ours = [result.figures[f"timed_latency_{column.name}"] for column in columns]
    steps = f"measured, {result.figures['timed_steps_per_image']:.0f} steps"
    seconds = {
        "diffusers, 1 device (paper)": [column.diffusers_s for column in columns],
        "Katz (paper)": [column.katz_s for column in columns],
        steps: ours,
    }
    _bars(left, [column.name for column in columns], seconds)
    left.set(ylabel="s", title="latency, on the paper's number of devices")
    names = [c.name for c in COLUMNS if f"saturated_vs_diffusers_{c.name}" in result.figures]
    labels = {
        "diffusers_images_per_device_s": "Celery and diffusers",
        "fixed_images_per_device_s": "UNet and ControlNet devices",
        "timed_images_per_device_s": "elastic devices",
    }
    rates = {label: [result.figures[f"{key}_{name}"] for name in names] for key, label in labels.items()}
    _bars(right, names, rates)
    limits = [result.figures[f"timed_limit_images_per_device_s_{name}"] for name in names]
    right.plot([place + 0.27 for place in range(len(names))], limits, "k_", label="if no device ever waited")
    devices_of_each = f"{result.figures['devices']:.0f} devices each"
    right.set(ylabel="images / device-second", title=f"throughput while jobs wait, {devices_of_each}")
    right.legend()


def _bars(axes: Any, names: Sequence[str], values: Mapping[str, Sequence[float]]) -> None:
    """Three bars for each name, with their labels."""
    for shift, (label, heights) in zip((-0.27, 0.0, 0.27), values.items(), strict=True):
        axes.bar([place + shift for place in range(len(names))], heights, 0.27, label=label)
    axes.set_xticks(range(len(names)), names)
    axes.legend()


def _latencies(fleet: Fleet, form: Form) -> tuple[dict[str, list[float]], int]:
    """Seconds of single jobs, for devices that do not sleep longer; two devices for each ControlNet.

    A job whose second UNet device came late does not count; the number of these comes second.
    """
    most = max(column.controlnets for column in form.latencies)
    memory = {"SWIFT_MODEL_MEMORY_BYTES": str(MEMORY_BYTES)}
    jobs = ColumnJobs(fleet, form.sizes.steps, NAME, CONTROLNETS)
    found: dict[str, list[float]] = {}
    not_split = 0
    with devices(fleet, unets=UNETS, controlnets=CONTROLNETS[:most] * 2, environment=memory):
        jobs.at_once(form.latencies[-1], UNETS)  # everything has been used once
        for column in form.latencies:
            runs = found[column.name] = []
            while len(runs) < form.runs:
                seconds, is_split = jobs.alone(column)
                if is_split:
                    runs.append(seconds / form.sizes.times.stretch)
                    continue
                not_split += 1
                if not_split > MOST_NOT_SPLIT:
                    raise CheckFailed(f"{not_split} jobs were not split from the first step to the last")
            print(f"  {column.name} alone: {', '.join(f'{seconds:.2f} s' for seconds in runs)}", flush=True)
    return found, not_split


def _against_katz(latencies: Mapping[str, Sequence[float]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for column in COLUMNS:
        if column.name in latencies:
            figures[f"timed_latency_{column.name}"] = median(latencies[column.name])
            figures[f"timed_latency_over_katz_{column.name}"] = median(latencies[column.name]) / column.katz_s
    return figures


def _sweep(fleet: Fleet, sizes: Sizes) -> dict[str, float]:
    """One device of a ControlNet, shared by more and more UNet devices, which generate one job each."""
    column, figures = COLUMNS[2], dict[str, float]()
    jobs = ColumnJobs(fleet, sizes.steps, NAME, CONTROLNETS)
    none = {"SWIFT_WORKER_CONTROLNETS": "none", "SWIFT_MODEL_MEMORY_BYTES": str(MEMORY_BYTES)}
    with devices(fleet, unets=MOST_UNETS, controlnets=CONTROLNETS[:1], environment=none):
        jobs.at_once(column, MOST_UNETS)  # everything has been used once
        for unets in range(1, MOST_UNETS + 1):
            ended = jobs.at_once(column, unets)
            span_s = max(map(finished_s, ended)) - min(map(started_s, ended))
            figures[f"share_1net_{unets}unets"] = unets / span_s / (unets + 1)
    figures["share_gain_1net_3unets"] = figures["share_1net_3unets"] / figures["share_1net_1unets"]
    return figures
