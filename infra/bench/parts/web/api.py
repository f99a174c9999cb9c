"""Part ``api``: what the web bears while workers generate, and what the fleet takes while it rests."""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from math import prod
from typing import Any

import psutil  # type: ignore[import-untyped]
from safetensors import safe_open

from infra.bench.harness.fleet import Fleet, running_fleet
from infra.bench.harness.processes import cpu_by_name, cpu_s, family, rss_mb
from infra.bench.harness.report import Bound, CheckFailed, Measured, Result
from infra.bench.harness.samples import percentile
from infra.bench.harness.workers import wait_until_loaded
from infra.bench.parts.web.load_client import CONNECTIONS, Kind, Load, Order, put_load_on
from infra.emoji_files import CONTROL, EMOJI, LORA
from infra.local.environment import inherit

BOUNDS = {
    "submissions_per_core_s": Bound("at_least", 150),
    "lora_submissions_per_core_s": Bound("at_least", 150),
    "submit_ms_p99": Bound("at_most", 100),
    "reads_per_core_s": Bound("at_least", 500),
    "api_rss_mb": Bound("at_most", 120),
    "worker_extra_rss_mb": Bound("at_most", 150),
    "idle_cpu_percent": Bound("at_most", 2),
}
#: Nobody measures processes that still start, or that still tidy up after a job.
SETTLE_S = 5.0
#: Jobs that keep both workers busy for longer than the load lasts.
LONG: dict[str, Any] = {"prompt": "a penguin", "seed": 7, "num_inference_steps": 200, "num_images": 8}
LONG_JOBS = 4
#: All jobs are cancelled within this, or the run does not count.
CANCEL_S = 600.0
#: What a UNet worker needs of other people's libraries.
IMPORTS = """
import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPTextModel, CLIPTokenizer
import psutil
print(psutil.Process().memory_info().rss / 1e6)
"""


def measure(quick: bool) -> Measured:
    """Start a stack, measure it at rest, then under load. Memory in 10⁶ bytes, CPU in % of one core."""
    load_s, idle_s = (5.0, 10.0) if quick else (20.0, 20.0)
    with running_fleet(unet_workers=2, controlnet_workers=0) as fleet:  # as `make up` starts it
        sizes = _measure_sizes(fleet)
        print(f"  idle for {idle_s:.0f} s", flush=True)
        idle = _measure_idle(fleet, idle_s)
        figures, samples = _measure_load(fleet, load_s)
        figures |= sizes | _api_memory(fleet)
    figures["idle_cpu_percent"] = sum(idle.values())
    samples |= {f"idle_cpu_percent {name}": [share] for name, share in idle.items()}
    return Measured(figures, samples, BOUNDS)


def plot(result: Result, left: Any, right: Any) -> None:
    """How long requests took under load, and what the processes use at rest."""
    for name in ("submit_ms", "read_ms"):
        left.ecdf(result.samples[name], label=name.removesuffix("_ms"))
    left.axvline(result.targets["submit_ms_p99"].at_most, linestyle=":", label="target of submit's p99")
    left.set(xscale="log", xlabel="ms", ylabel="share of requests", title="latency, workers busy")
    left.legend()
    prefix = "idle_cpu_percent "
    idle = {n.removeprefix(prefix): v[0] for n, v in result.samples.items() if n.startswith(prefix)}
    right.barh(list(idle), list(idle.values()))
    right.set(xlabel="% of one core", title="CPU at rest")


def _measure_sizes(fleet: Fleet) -> dict[str, float]:
    """The UNet worker's memory before a model is loaded and after one image, held against its libraries."""
    print("  worker memory before and after an image", flush=True)
    worker = fleet.stack.pids()["unet1"]
    before = rss_mb(worker)
    fleet.generate({"prompt": "a penguin on a teal background", "seed": 7})
    wait_until_loaded(fleet, [worker])
    after, imported, weights = rss_mb(worker), _import_rss_mb(), _weights_mb()
    return {
        "worker_rss_mb": after,
        "worker_before_model_rss_mb": before,
        "torch_import_rss_mb": imported,
        "model_weights_mb": weights,
        "worker_extra_rss_mb": after - imported - weights,
    }


def _import_rss_mb() -> float:
    """Memory of a process that has imported a worker's libraries and nothing else."""
    environment = inherit({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"})
    words = [sys.executable, "-c", IMPORTS]
    answer = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(answer.stdout)


def _weights_mb() -> float:
    """The embedded model's and ControlNets' weights as a worker holds them: 4 bytes a number, however they
    are stored."""
    numbers = 0
    for path in (*EMOJI.glob("model/*/*.safetensors"), *EMOJI.glob("controlnets/*/*.safetensors")):
        with safe_open(path, framework="np") as file:
            numbers += sum(prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    return 4 * numbers / 1e6


def _measure_idle(fleet: Fleet, idle_s: float) -> dict[str, float]:
    """CPU of each process of a stack without jobs, in % of one core; what starts them is ``supervisors``."""
    time.sleep(SETTLE_S)
    pids = fleet.stack.pids()
    own = psutil.Process().pid
    before, started, of_us = cpu_by_name(pids), cpu_s(own), psutil.Process().cpu_times()
    time.sleep(idle_s)
    after, ended, us = cpu_by_name(pids), cpu_s(own), psutil.Process().cpu_times()
    spent = {name: after[name] - before[name] for name in pids}
    ours = us.user + us.system - of_us.user - of_us.system
    spent["supervisors"] = max(0.0, ended - started - ours - sum(spent.values()))
    return {name: 100 * seconds / idle_s for name, seconds in spent.items()}


def _measure_load(fleet: Fleet, load_s: float) -> tuple[dict[str, float], dict[str, list[float]]]:
    image = base64.b64encode(CONTROL.read_bytes()).decode()
    long = {**LONG, "controlnets": [{"name": "edge", "image": image}]}
    jobs = [fleet.submit({**long, "seed": seed}) for seed in range(LONG_JOBS)]
    fleet.wait_for_status(jobs[0], "running")
    print(f"  submissions for {load_s:.0f} s over {CONNECTIONS} connections, workers busy", flush=True)
    submitted, submit_cpu_s = _put_load_on(fleet, "submit", seconds=load_s)
    queued = submitted.ids
    fleet.put_lora(LORA.stem, LORA.read_bytes())
    with_lora, lora_cpu_s = _put_load_on(fleet, "submit", seconds=load_s / 2, loras=[LORA.stem])
    queued = queued + with_lora.ids
    print(f"  {len(queued)} submitted; status reads for {load_s:.0f} s", flush=True)
    read, read_cpu_s = _put_load_on(fleet, "read", seconds=load_s, ids=queued[:1000])
    if fleet.job(jobs[-1])["status"] in ("succeeded", "failed"):
        raise CheckFailed("the workers had nothing left to generate while the API was measured")
    _cancel(fleet, [*queued, *reversed(jobs)])
    submissions, reads = len(submitted.latencies_ms), len(read.latencies_ms)
    figures = {
        "submissions_per_s": submissions / submitted.elapsed_s,
        "submissions_per_core_s": submissions / submit_cpu_s,
        "lora_submissions_per_core_s": len(with_lora.latencies_ms) / lora_cpu_s,
        "lora_submit_ms_p99": percentile(with_lora.latencies_ms, 99),
        "submit_ms_p50": percentile(submitted.latencies_ms, 50),
        "submit_ms_p99": percentile(submitted.latencies_ms, 99),
        "reads_per_s": reads / read.elapsed_s,
        "reads_per_core_s": reads / read_cpu_s,
        "read_ms_p50": percentile(read.latencies_ms, 50),
        "read_ms_p99": percentile(read.latencies_ms, 99),
    }
    return figures, {"submit_ms": submitted.latencies_ms, "read_ms": read.latencies_ms}


def _put_load_on(
    fleet: Fleet, kind: Kind, seconds: float, ids: Sequence[str] = (), loras: Sequence[str] = ()
) -> tuple[Load, float]:
    """The load, and the CPU seconds the API spent on it; raises `CheckFailed` for answers not meant."""
    api = fleet.stack.pids()["api"]
    host, port = fleet.address
    before_s = cpu_s(api)
    order = Order(kind=kind, host=host, port=port, seconds=seconds, ids=list(ids), loras=list(loras))
    load = put_load_on(order)
    spent_s = cpu_s(api) - before_s
    if load.refused or not load.latencies_ms:
        raise CheckFailed(f"{kind}: {len(load.refused)} answers not meant: {set(load.refused)}")
    return load, spent_s


def _cancel(fleet: Fleet, ids: list[str]) -> None:
    """Cancel every job, those that run last; raises `CheckFailed` if one is still queued."""
    print(f"  cancelling {len(ids)} jobs", flush=True)
    _put_load_on(fleet, "cancel", seconds=CANCEL_S, ids=ids)
    left = json.loads(fleet.ask("GET", "/v1/jobs?status=queued"))["jobs"]
    if left:
        raise CheckFailed(f"{len(left)} jobs are still queued after all were cancelled")


def _api_memory(fleet: Fleet) -> dict[str, float]:
    """The API after the load: the process that serves, and gunicorn's master that only watches it."""
    master, *servers = family(fleet.stack.pids()["api"])
    return {"api_rss_mb": max(map(rss_mb, servers)), "api_master_rss_mb": rss_mb(master)}
