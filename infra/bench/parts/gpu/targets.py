"""Every target of the part (SDXL 1024², 50 steps, float16, one H100), with what others have reached.

Beside a measured figure stands its limit as well: operations over the measured rate of matrix products, or
bytes over the measured bandwidth of memory or link.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from infra.bench.harness.report import Bound

NOT_MEASURED = "not measured"


class Target(NamedTuple):
    """A figure that is held against a number."""

    figure: str
    kind: Literal["at_most", "at_least"]
    value: float
    anchor: str
    meaning: str


TARGETS = (
    Target(
        "vs_diffusers_eager_graphs",
        "at_most",
        1.0,
        "diffusers 2.88 s (H800)",
        "0C/0L, engine graphs, the same bits: latency over diffusers'",
    ),
    Target("busy_share", "at_least", 0.97, "", "share of the loop in which the GPU computes"),
    Target("fleet_0c0l_s_compile", "at_most", 2.05, "Katz 1.71 s on two H800", "0C/0L, engine compile, s"),
    Target(
        "speedup_vs_diffusers_eager",
        "at_least",
        1.3,
        "stable-fast 1.45 (H100)",
        "the same, times as fast as diffusers",
    ),
    Target(
        "speedup_vs_diffusers_compile", "at_least", 1.0, "", "the same, against diffusers with torch.compile"
    ),
    Target("cfg_branch_step_ms", "at_most", 24, "Katz 31.2 (H800)", "one CFG branch, ms a step"),
    Target("tax_1c_same_gpu", "at_most", 0.03, "", "1C on one GPU, over the sum of UNet and ControlNet"),
    Target("tax_1c_mps", "at_most", 0.0, "", "the same under MPS, half of the GPU each"),
    Target("lora_patch_ms", "at_most", 15, "Katz 90", "patch of rank 64, pristine weights on the device, ms"),
    Target("lora_restore_ms", "at_most", 5, "", "taking it out again, ms"),
    Target("lora_blocked_ms", "at_most", 25, "Katz 90", "loop blocked by a patch, ms"),
    Target("tax_0c1l_cold", "at_most", 0.03, "Katz 7.6 %, diffusers 109 %", "a cold LoRA, over 0C/0L"),
    Target("wire_ms_107mb_cuda_ipc", "at_most", 0.2, "", "CUDA IPC on one GPU: both copies of a step, ms"),
    Target("d2d_first_ms_cuda_ipc", "at_most", 0.6, "", "the same, until the first group is there, ms"),
    Target(
        "registered_gb_per_s",
        "at_least",
        40,
        "pageable 10 to 17",
        "registered shared memory, the slower way, GB/s",
    ),
    Target(
        "exposed_ms_registered",
        "at_most",
        1.2,
        "15 to 18 unregistered",
        "a step's time for residuals over it, ms",
    ),
    Target(
        "next_job_gap_ms",
        "at_most",
        10,
        "about 300 before",
        "last image's VAE to the next job's first work, ms",
    ),
    Target(
        "trace_images_per_s_vs_naive",
        "at_least",
        2,
        "Katz 1.6 to 1.7",
        "production mix: images per second over diffusers in Celery",
    ),
    Target("trace_p99_vs_naive", "at_most", 1, "", "the same, p99 of latency"),
)


def bounds_of(figures: Mapping[str, float], limits: Mapping[str, float]) -> dict[str, Bound]:
    """The bounds of the figures that were measured."""
    return {
        target.figure: Bound(target.kind, target.value, limits.get(target.figure), target.anchor or None)
        for target in TARGETS
        if target.figure in figures
    }


def targets_table(figures: Mapping[str, float], limits: Mapping[str, float]) -> str:
    """A row of Markdown for each target, measured or not."""
    rows = ["| figure | | measured | limit | target | others |", "|---|---|--:|--:|--:|---|"]
    for target in TARGETS:
        sign = "≤" if target.kind == "at_most" else "≥"
        value = figures.get(target.figure)
        shown = NOT_MEASURED if value is None else _emphasized(value, target)
        limit = limits.get(target.figure)
        beside = "" if limit is None else f"{limit:.3g}"
        others = target.anchor or "–"
        cells = (f"`{target.figure}`", target.meaning, shown, beside, f"{sign} {target.value:g}", others)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _emphasized(value: float, target: Target) -> str:
    is_met = value <= target.value if target.kind == "at_most" else value >= target.value
    return f"{value:.3g}" if is_met else f"**{value:.3g}**"
