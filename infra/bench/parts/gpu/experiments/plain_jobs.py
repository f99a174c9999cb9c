"""E4: images without add-ons through the whole fleet, against diffusers in this process, by turns.

An image counts only if its pixels are diffusers'. Busy share and gap come from a trace of the kernels in the
worker's own process (CUPTI by torch.profiler): the share of the denoising loop in which any kernel or copy
runs, and what is left of it for each step.
"""

import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from infra.bench.harness.report import CheckFailed
from infra.bench.parts.gpu.context import Context, require
from infra.bench.parts.gpu.experiments.controlnet_jobs import best_engine
from infra.bench.parts.gpu.experiments.rates import matmul_tflops
from infra.bench.parts.gpu.fleet.files import ENGINES, served_engines
from infra.bench.parts.gpu.fleet.jobs import FinishedJob, GpuFleet, fleet_of, loop_window_s
from infra.bench.parts.gpu.fleet.trace_requests import REQUEST, STARTED, TRACE, busy_share, gaps_ms
from infra.bench.parts.gpu.flops import unet_tflop
from infra.bench.parts.gpu.models import GUIDED_ROWS
from infra.bench.parts.gpu.peer import peer

#: `compile` takes minutes: E2 measures it.
LATER = "compile"
POLL_S, TRACE_S = 0.05, 60.0


def run(context: Context) -> None:
    """See the module."""
    fleet = fleet_of(context)
    engines = [engine for engine in served_engines(context.device) if engine != LATER]
    engines.sort(key=lambda engine: engine != best_engine(context))  # the headline first
    for engine in engines[:1] if context.quick else engines:
        try:
            alternate(context, fleet, engine)
            branch_step_ms(context, fleet, engine)
            trace_loop(context, fleet, engine)
        except CheckFailed as error:  # the other engine may work
            context.fail(f"E4: {error}")


def alternate(context: Context, fleet: GpuFleet, engine: str) -> None:
    """The same images by the fleet and by diffusers in turn, after one of each that does not count."""
    ours, theirs = list[float](), list[float]()
    loops, equal = list[float](), list[bool]()
    rounds = 2 if context.quick else 4
    for i in range(-1, rounds):
        generated = fleet.generate(engine, 100 + i)
        _check_engine(context, engine, generated)
        baseline = peer(context).generate(100 + i)
        if i < 0:
            continue
        equal.append(np.array_equal(generated.pixels, baseline.pixels))
        distance = np.abs(generated.pixels.astype(np.int16) - baseline.pixels).max()
        ours.append(generated.job_s)
        theirs.append(baseline.seconds)
        loops.append(generated.step_ms)
        print(
            f"    {engine}: {ours[-1]:.3f} s, diffusers {theirs[-1]:.3f} s, apart by {distance}", flush=True
        )
    if engine != LATER:  # compiled kernels sum in another order
        context.check(all(equal), f"engine {engine}: the fleet's image is not diffusers'")
    prefix = "" if all(equal) or engine == LATER else "uncounted_"
    context.figure(f"equal_to_diffusers_{engine}", float(all(equal)))
    context.median_of(f"{prefix}fleet_0c0l_s_{engine}", ours, limit=_limit_s(context))
    context.median_of(f"{prefix}step_ms_{engine}", loops)
    context.median_of(f"diffusers_eager_s_beside_{engine}", theirs)
    ratios = [fleet_s / peer_s for fleet_s, peer_s in zip(ours, theirs, strict=True)]
    context.median_of(f"{prefix}vs_diffusers_eager_{engine}", ratios)
    overhead = [1e3 * (job_s - context.size.steps * ms / 1e3) for job_s, ms in zip(ours, loops, strict=True)]
    context.median_of(f"outside_loop_ms_{engine}", overhead)


def _check_engine(context: Context, engine: str, generated: FinishedJob) -> None:
    """The receipt says which engine computed it: one that gave up would be measured under another's name."""
    used = generated.job["receipt"]["worker"]["engine"]
    require(used == engine, f"engine {engine}: the receipt says {used}; see the worker's log")


def branch_step_ms(context: Context, fleet: GpuFleet, engine: str) -> float:
    """One CFG branch: a job without guidance has one row a step."""
    steps = [fleet.generate(engine, 200 + i, guidance_scale=1.0).step_ms for i in range(3)][1:]
    ms = context.median_of(f"cfg_branch_step_ms_{engine}", steps)
    of_engines = [context.figures.get(f"cfg_branch_step_ms_{name}", ms) for name in ENGINES]
    best = min(of_engines)
    limit = 1e3 * unet_tflop(context.size, 1) / matmul_tflops(context)
    context.figure("cfg_branch_step_ms", best, limit=limit)
    return ms


def trace_loop(context: Context, fleet: GpuFleet, engine: str) -> None:
    """Trace one job in the worker."""
    home, steps = fleet.fleet.stack.home, min(context.size.steps, 20)
    for name in (STARTED, TRACE):
        (home / name).unlink(missing_ok=True)
    (home / REQUEST).touch()
    try:
        if not _appears(home / STARTED):
            context.note(f"no trace of engine {engine}: it has not begun after {TRACE_S:.0f} s")
            return
        generated = fleet.generate(engine, 300, num_inference_steps=steps)
    finally:
        (home / REQUEST).unlink()
    if not _appears(home / TRACE):
        context.note(f"no trace of engine {engine} after {TRACE_S:.0f} s")
        return
    traced: dict[str, Any] = json.loads((home / TRACE).read_text())
    start_ns, end_ns = (1e9 * moment for moment in loop_window_s(generated.job))
    intervals = [(start, end) for start, end in traced["intervals"]]
    context.figure(f"kernels_per_step_{engine}", traced["kernels"] / steps)
    share = context.figure(f"busy_share_{engine}", busy_share(intervals, start_ns, end_ns))
    gaps = gaps_ms(intervals, start_ns, end_ns)
    context.figure(f"gap_ms_per_step_{engine}", sum(gaps) / steps)
    context.figure(f"gap_ms_longest_{engine}", max(gaps, default=0.0))
    context.figure(f"gap_ms_median_{engine}", median(gaps) if gaps else 0.0)
    if engine == best_engine(context):
        context.figure("busy_share", share)
        context.figure("gap_ms_per_step", sum(gaps) / steps)


def _appears(path: Path) -> bool:
    deadline = time.monotonic() + TRACE_S
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _limit_s(context: Context) -> float:
    return context.size.steps * unet_tflop(context.size, GUIDED_ROWS) / matmul_tflops(context)
