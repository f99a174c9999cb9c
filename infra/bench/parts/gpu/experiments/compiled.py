"""E2: torch.compile, as diffusers' users call it, and the fleet's engine ``compile``.

Each form of the peer is compiled in a process of its own, so that it can be given up: compiling takes a
minute or more, and leaves nothing that the other experiments would meet.
"""

import json
import subprocess
import sys

from infra.bench.harness.report import FOLDER, CheckFailed
from infra.bench.parts.gpu.context import Context, Skipped
from infra.bench.parts.gpu.experiments.eager import diffusers_eager_s
from infra.bench.parts.gpu.experiments.plain_jobs import alternate, branch_step_ms, trace_loop
from infra.bench.parts.gpu.fleet.jobs import fleet_of, stop_fleets
from infra.local.environment import inherit
from shared.settings import ROOT

#: The form that diffusers recommends, which compiles in seconds; it comes first, then our engine.
REGIONAL, REGIONAL_S = "regional", 90.0
#: Seconds of the budget that a process which compiles leaves over.
END_S = 5.0
#: What diffusers' forms have compiled, kept from run to run.
COMPILED = FOLDER / "compiled-diffusers"
#: Forms that take longer, and how much time must be left for each.
WHOLE = {"reduce-overhead": 60.0, "max-autotune": 240.0}


def run(context: Context) -> None:
    """See the module."""
    if not context.is_gpu:
        raise Skipped("compiling at toy size says nothing")
    compile_peer(context, REGIONAL, REGIONAL_S)
    try:
        _measure_fleet(context)
    except CheckFailed as error:
        context.fail(f"E2: {error}")
    stop_fleets(context)
    for mode, least_s in WHOLE.items():
        if context.left_s() < least_s:
            context.note(f"E2: mode {mode} left out: {context.left_s():.0f} s are left")
        else:
            compile_peer(context, mode, context.left_s() - END_S)
            _compare(context)


def _measure_fleet(context: Context) -> None:
    """The fleet's engine, which compiles within the first job: that one does not count."""
    fleet = fleet_of(context)
    alternate(context, fleet, "compile")
    _compare(context)
    branch_step_ms(context, fleet, "compile")
    trace_loop(context, fleet, "compile")


def _compare(context: Context) -> None:
    """Both ratios, as far as both of their figures are there."""
    ours_s = context.figures.get("fleet_0c0l_s_compile")
    if ours_s is None:
        return
    context.figure("speedup_vs_diffusers_eager", diffusers_eager_s(context) / ours_s)
    if "diffusers_compile_s" in context.figures:
        context.figure("speedup_vs_diffusers_compile", context.figures["diffusers_compile_s"] / ours_s)


def compile_peer(context: Context, mode: str, timeout_s: float) -> None:
    """Note the latency of diffusers compiled in this mode, and how long compiling took."""
    words = [sys.executable, "-m", "infra.bench.parts.gpu.compiled_peer", mode, context.device.type]
    cache = COMPILED / mode
    if cache.exists():
        context.note(f"E2: diffusers in mode {mode} found what an earlier run had compiled")
    cache.mkdir(parents=True, exist_ok=True)
    env = inherit({"TORCHINDUCTOR_CACHE_DIR": str(cache)})
    try:
        answer = subprocess.run(
            words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        context.note(f"E2: diffusers in mode {mode} given up after {timeout_s:.0f} s")
        return
    lines = answer.stdout.strip().splitlines()
    if answer.returncode or not lines:
        last = (answer.stderr.strip().splitlines() or ["no output"])[-1]
        context.note(f"E2: diffusers in mode {mode}: {last[:200]}")
        return
    told = json.loads(lines[-1])
    name = mode.replace("-", "_")
    context.figure(f"diffusers_compile_s_{name}", told["image_s"])
    context.figure(f"compile_took_s_{name}", told["compile_s"])
    context.figure(f"unet_ms_compiled_{name}", told["unet_ms"])
    names = [f"diffusers_compile_s_{mode.replace('-', '_')}" for mode in (REGIONAL, *WHOLE)]
    context.figure("diffusers_compile_s", min(context.figures[n] for n in names if n in context.figures))
