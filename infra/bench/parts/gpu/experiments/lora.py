"""E7: a LoRA on attention and feed-forward: prepare, patch and restore, and a cold one in the fleet.

Patches are held against memory's bandwidth: each touched weight is read and written once. diffusers' way, the
same file on the same pipeline, is load, fuse, unfuse, unload; its weights are put back afterwards.
"""

import threading
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from infra.bench.parts.gpu.context import Context, Skipped, require
from infra.bench.parts.gpu.experiments.controlnet_jobs import best_engine
from infra.bench.parts.gpu.experiments.eager import diffusers_eager_s
from infra.bench.parts.gpu.experiments.rates import memory_gb_per_s
from infra.bench.parts.gpu.fleet.files import lora_file
from infra.bench.parts.gpu.fleet.jobs import FinishedJob, fleet_of
from infra.bench.parts.gpu.models import GUIDED_ROWS
from infra.bench.parts.gpu.timing import measure, measure_once
from workers.families.unet.lora_targets import UNetLoraTargets
from workers.lora.formats.parser import read_lora
from workers.lora.lora_weights import LoraWeights
from workers.lora.patch import Patcher
from workers.lora.writers.pristine import PristinePlace


def run(context: Context) -> None:
    """See the module."""
    measure_patches(context)
    try:
        measure_cold(context)
        measure_fetch(context)
    except Skipped as error:
        context.note(f"E7: jobs with a cold LoRA left out: {error}")
    try:
        measure_diffusers(context)
    except ModuleNotFoundError as error:
        context.note(f"E7: diffusers' LoRAs left out: {error.name} is not installed")


def measure_patches(context: Context) -> None:
    """Our patcher on diffusers' UNet in this process; pristine weights on the device, then on the host."""
    unet = context.models.pipe.unet
    paths = [_write(context, seed) for seed in (1, 2)]
    targets = UNetLoraTargets({"unet": unet})
    context.figure("lora_file_mb", paths[0].stat().st_size / 1e6)
    context.figure("lora_read_ms", measure_once(context.device, lambda: read_lora(paths[0], targets)))
    loras = [read_lora(path, targets) for path in paths]
    _patch(context, loras, "device", "")
    if context.is_gpu and not context.quick:
        _patch(context, loras, "host", "_host")
    _beside_parsing(context, paths[1], targets)


def _patch(context: Context, loras: list[LoraWeights], place: PristinePlace, suffix: str) -> None:
    unet, (one, other) = context.models.pipe.unet, loras
    patcher = Patcher({"unet": unet})
    patcher.keep_pristine(place)
    touched = [unet.get_parameter(name) for name in one.parts["unet"]]
    compared = touched[:: max(1, len(touched) // 16)]
    before = [weight.detach().clone() for weight in compared]

    def took(name: str, act: Callable[[], object]) -> None:
        context.figure(f"{name}{suffix}", measure_once(context.device, act))

    took("lora_prepare_ms", lambda: patcher.prepare(one))
    took("lora_prepare_again_ms", lambda: patcher.prepare(other))
    took("lora_patch_first_ms", lambda: patcher.apply([(one, 1.0)]))
    patches, switches, restores = list[float](), list[float](), list[float]()
    for _ in range(3 if context.quick else 6):
        switches.append(measure_once(context.device, lambda: patcher.apply([(other, 1.0)])))
        restores.append(measure_once(context.device, patcher.restore))
        patches.append(measure_once(context.device, lambda: patcher.apply([(one, 0.8)])))
    patcher.restore()
    after = [weight.detach() for weight in compared]
    require(all(map(torch.equal, before, after)), "a restored weight is not the one before")
    size, rate = sum(weight.nbytes for weight in touched), 1e6 * memory_gb_per_s(context)
    limit = (2 * size + one.nbytes) / rate
    context.figure(f"lora_device_mb{suffix}", patcher.device_bytes / 1e6)
    context.median_of(f"lora_patch_ms{suffix}", patches, limit=None if suffix else limit)
    context.median_of(f"lora_switch_ms{suffix}", switches, limit=None if suffix else limit)
    context.median_of(f"lora_restore_ms{suffix}", restores, limit=None if suffix else 2 * size / rate)
    patcher.release_cached()


@torch.inference_mode()
def _beside_parsing(context: Context, path: Path, targets: UNetLoraTargets) -> None:
    """An eager step while another thread parses a LoRA: both want the interpreter."""
    unet, inputs = context.models.pipe.unet, context.models.unet_inputs(GUIDED_ROWS)
    alone = measure(context.device, lambda: unet(**inputs), rounds=5).ms
    is_over = threading.Event()

    def parse() -> None:
        while not is_over.is_set():
            read_lora(path, targets)

    thread = threading.Thread(target=parse, daemon=True)
    thread.start()
    try:
        beside = measure(context.device, lambda: unet(**inputs), rounds=5).ms
    finally:
        is_over.set()
        thread.join()
    context.figure("step_beside_parsing", beside / alone)


def measure_cold(context: Context) -> None:
    """Jobs with a LoRA that nobody has seen, and without, in turn; then with one that is in memory."""
    fleet = fleet_of(context)
    engine = best_engine(context)
    cold, warm, plain = list[FinishedJob](), list[FinishedJob](), list[FinishedJob]()
    for i in range(-1, 2 if context.quick else 4):
        name = fleet.put_cold_lora(1 + i % 2)
        jobs = (
            fleet.generate(engine, 500 + i, loras=[{"name": name}]),
            fleet.generate(engine, 500 + i),
            fleet.generate(engine, 500 + i, loras=[{"name": name}]),
        )
        if i >= 0:
            for job, kind in zip(jobs, (cold, plain, warm), strict=True):
                kind.append(job)
    require(cold[-1].job["receipt"]["loras"] != [], "a job's LoRA is not on its receipt")
    context.median_of("tax_0c1l_cold", _taxes(cold, plain))
    context.median_of("tax_0c1l_memory", _taxes(warm, plain))
    context.median_of("lora_blocked_ms", [blocked_ms(job.job) for job in cold])
    steps = [float(job.job["receipt"]["loras"][0]["step"]) for job in cold]
    context.median_of("lora_cold_step", steps)
    spans = {span["name"]: span for span in cold[-1].job["timeline"] if span["name"].startswith("lora ")}
    for name, span in spans.items():
        print(f"    {name}: {span['end_s'] - span['start_s']:.3f} s", flush=True)


def measure_fetch(context: Context) -> None:
    """What this S3 server takes to answer: how much of a cold LoRA is its doing."""
    from infra.local.s3_client import make_s3_client

    fleet = fleet_of(context)
    env = fleet.fleet.stack.env
    name = fleet.put_cold_lora(1)
    client: Any = make_s3_client(env)

    def fetch() -> None:
        client.get_object(Bucket=env["SWIFT_LORA_BUCKET"], Key=f"{name}.safetensors")["Body"].read()

    context.figure("s3_fetch_ms", measure_once(context.device, fetch))


def blocked_ms(job: dict[str, Any]) -> float:
    """How much longer than usual the job's longest step was: its patch, and what it waited for."""
    starts = sorted(float(span["start_s"]) for span in job["timeline"] if span["name"] == "encoder")
    steps = [1e3 * (after - before) for before, after in pairwise(starts)]
    return max(steps) - median(steps)


def measure_diffusers(context: Context) -> None:
    """The same LoRA by diffusers, which needs peft for it; raises `ModuleNotFoundError`."""
    import_module("peft")
    pipe, path = context.models.pipe, _write(context, 1)
    weights = {name: weight.detach().clone() for name, weight in pipe.unet.named_parameters()}
    folder, name = str(path.parent), path.name
    took = {
        "load": lambda: pipe.load_lora_weights(folder, weight_name=name, adapter_name="bench"),
        "fuse": pipe.fuse_lora,
        "unfuse": pipe.unfuse_lora,
        "unload": pipe.unload_lora_weights,
    }
    total_ms = 0.0
    try:
        for act, function in took.items():
            ms = context.figure(f"diffusers_lora_{act}_ms", measure_once(context.device, function))
            total_ms += ms if act in ("load", "fuse") else 0.0
    finally:
        with torch.no_grad():
            for parameter_name, parameter in pipe.unet.named_parameters():
                parameter.copy_(weights[parameter_name])
    context.figure("diffusers_tax_0c1l", total_ms / 1e3 / diffusers_eager_s(context))


def _taxes(loaded: list[FinishedJob], plain: list[FinishedJob]) -> list[float]:
    return [one.job_s / other.job_s - 1 for one, other in zip(loaded, plain, strict=True)]


def _write(context: Context, seed: int) -> Path:
    path = context.folder / f"lora{seed}.safetensors"
    if not path.exists():
        path.write_bytes(lora_file(context, seed))
    return path
