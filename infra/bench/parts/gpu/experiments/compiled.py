"""E2: torch.compile, as diffusers' users call it, and the fleet's engine ``compile``.

Each form of the peer is compiled in a process of its own, so that it can be given up: compiling takes a
minute or more, and leaves nothing that the other experiments would meet.
"""

import json
import subprocess
import sys

from infra.bench.parts.gpu.context import Context, Skipped
from infra.bench.parts.gpu.experiments.eager import diffusers_eager_s
from infra.bench.parts.gpu.experiments.plain_jobs import alternate, branch_step_ms, trace_loop
from infra.bench.parts.gpu.fleet.files import served_engines
from infra.bench.parts.gpu.fleet.jobs import fleet_of
from infra.local.environment import inherit
from shared.settings import ROOT

#: In order of worth; the last takes minutes: only if they are left.
MODES = {"regional": 30.0, "reduce-overhead": 60.0, "max-autotune": 240.0}
#: What the rest of the experiment needs.
RESERVED_S = 120.0


def run(context: Context) -> None:
    """See the module."""
    if not context.is_gpu:
        raise Skipped("compiling at toy size says nothing")
    for mode, least_s in MODES.items():
        if context.left_s() - RESERVED_S < least_s and mode != "regional":
            context.note(f"E2: mode {mode} left out: {context.left_s():.0f} s are left")
            continue
        compile_peer(context, mode, max(least_s, context.left_s() - RESERVED_S))
    if "compile" not in served_engines(context.device):
        context.note("E2: this version has no engine compile")
        return
    fleet = fleet_of(context)
    alternate(context, fleet, "compile")
    branch_step_ms(context, fleet, "compile")
    ours_s = context.figures["fleet_0c0l_s_compile"]
    context.figure("speedup_vs_diffusers_eager", diffusers_eager_s(context) / ours_s)
    if "diffusers_compile_s" in context.figures:
        context.figure("speedup_vs_diffusers_compile", context.figures["diffusers_compile_s"] / ours_s)
    trace_loop(context, fleet, "compile")


def compile_peer(context: Context, mode: str, timeout_s: float) -> None:
    """Note the latency of diffusers compiled in this mode, and how long compiling took."""
    words = [sys.executable, "-m", "infra.bench.parts.gpu.compiled_peer", mode, context.device.type]
    try:
        answer = subprocess.run(
            words, cwd=ROOT, env=inherit({}), capture_output=True, text=True, timeout=timeout_s, check=False
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
    best_s = min(told["image_s"], context.figures.get("diffusers_compile_s", told["image_s"]))
    context.figure("diffusers_compile_s", best_s)
