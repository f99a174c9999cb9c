"""Part ``soak``: many jobs with random LoRAs under a small cache, with kills and overwrites.

Times do not matter here; what must hold does: weights, bounds, bytes, memory.
"""

import shutil
import subprocess
import sys
from statistics import median
from typing import Any

from infra.bench.harness.ports import free_ports, free_s3_port
from infra.bench.harness.report import FOLDER, Bound, CheckFailed, Measured, Result
from infra.bench.parts.soak.messages import SURVIVOR, Order, SoakResult
from infra.local.environment import inherit, make_credentials, variables_of
from infra.local.plan import ALLOCATOR
from shared.settings import Settings

BOUNDS = {
    "stale_loras": Bound("at_most", 0),
    "weights_changed": Bound("at_most", 0),
    "images_different": Bound("at_most", 0),
    "cache_fill_most": Bound("at_most", 1),
    "memory_tier_fill_most": Bound("at_most", 1),
    "survivor_rss_growth_mb": Bound("at_most", 10),
}
#: A tenth of the 300 LoRAs, and a few of them in memory.
CACHE_BYTES, MEMORY_BYTES = 18_000_000, 6_000_000


def measure(quick: bool) -> Measured:
    """Run it; raises `CheckFailed` if a job ended as none may."""
    jobs, loras, workers = (60, 60, 2) if quick else (1000, 300, 3)
    keys = make_credentials({})
    order = Order(
        jobs=jobs,
        loras=loras,
        workers=workers,
        jobs_per_kill=20 if quick else 60,
        jobs_per_overwrite=10,
        access_key=keys["AWS_ACCESS_KEY_ID"],
        secret_key=keys["AWS_SECRET_ACCESS_KEY"],
    )
    home = FOLDER / "soak"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    control, residual = free_ports(2)
    settings = Settings(
        home=home,
        redis_port=control,
        redis_url=f"redis://127.0.0.1:{control}/0",
        residual_redis_port=residual,
        residual_redis_url=f"redis://127.0.0.1:{residual}/0",
        s3_port=free_s3_port(),
        lora_cache_bytes=CACHE_BYTES * loras // 300,
        lora_memory_bytes=MEMORY_BYTES,
        lease_s=3,
        max_attempts=20,
    )
    environment = inherit({**variables_of(settings), **keys, **ALLOCATOR, "OMP_NUM_THREADS": "1"})
    outcome = _run(order, environment)
    return judge_soak(outcome, settings)


def judge_soak(outcome: SoakResult, settings: Settings) -> Measured:
    """The figures of a run; raises `CheckFailed` if anything happened that may not."""
    if outcome.faults:
        raise CheckFailed(f"{len(outcome.faults)} faults: {'; '.join(outcome.faults[:5])}")
    survivor = [rss for rss, name in zip(outcome.rss_mb, outcome.worker, strict=True) if name == SURVIVOR]
    lookups = sum(outcome.tiers.values())
    figures: dict[str, float] = {
        "jobs": sum(outcome.ended.values()),
        "jobs_succeeded": outcome.ended["succeeded"],
        "jobs_whose_lora_was_overwritten": outcome.ended["lora_gone"],
        "attempts_repeated": outcome.repeated,
        "kills": outcome.kills,
        "kills_while_fetching": outcome.kills_while_fetching,
        "overwrites": outcome.overwrites,
        "stale_loras": outcome.stale,
        "weights_compared": outcome.weights_compared,
        "weights_changed": outcome.weights_changed,
        "images_equal": outcome.equal_images,
        "images_different": outcome.different_images,
        "loras_mb": outcome.loras_bytes / 1e6,
        "cache_capacity_mb": outcome.cache_capacity_bytes / 1e6,
        "cache_polls": outcome.cache_polls,
        "cache_fill_most": outcome.cache_most_bytes / outcome.cache_capacity_bytes,
        "memory_tier_fill_most": outcome.memory_most_bytes / settings.lora_memory_bytes,
        "survivor_rss_mb": survivor[-1],
        "survivor_rss_growth_mb": _growth(survivor),
        "late_steps_mean": sum(outcome.late_steps) / max(1, len(outcome.late_steps)),
        **{f"share_from_{tier}": outcome.tiers[tier] / max(1, lookups) for tier in ("memory", "disk", "s3")},
    }
    samples: dict[str, list[float]] = {"cache_bytes": [float(count) for count in outcome.cache_bytes]}
    for name in sorted(set(outcome.worker)):
        places = [i for i, worker in enumerate(outcome.worker) if worker == name]
        samples[f"report {name}"] = [float(i) for i in places]
        samples[f"rss_mb {name}"] = [outcome.rss_mb[i] for i in places]
    return Measured(figures, samples, BOUNDS)


def plot(result: Result, left: Any, right: Any) -> None:
    """Memory of the workers and bytes of the cache, over the jobs."""
    names = sorted({name.removeprefix("rss_mb ") for name in result.samples if name.startswith("rss_mb ")})
    for name in names:
        places = result.samples[f"report {name}"]
        style = "-" if name == SURVIVOR else "."
        left.plot(places, result.samples[f"rss_mb {name}"], style, label=name, markersize=2)
    left.set(xlabel="jobs", ylabel="MB", title="memory of each worker; targets are killed and begin anew")
    left.set_ylim(bottom=0)
    left.legend()
    right.plot([count / 1e6 for count in result.samples["cache_bytes"]], label="files in the cache")
    right.axhline(result.figures["cache_capacity_mb"], linestyle=":", label="its bound")
    right.set(xlabel="jobs", ylabel="MB", title=f"cache; all LoRAs: {result.figures['loras_mb']:.0f} MB")
    right.set_ylim(bottom=0)
    right.legend()


def _run(order: Order, environment: dict[str, str]) -> SoakResult:
    """In a process of its own, which has the servers' credentials and ends what it has started."""
    words = [sys.executable, "-m", "infra.bench.parts.soak.run"]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            answer, _ = process.communicate(order.model_dump_json())
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        raise CheckFailed(f"the soak ended with {process.returncode}")
    return SoakResult.model_validate_json(answer)


def _growth(rss_mb: list[float]) -> float:
    """From the second quarter of a run, when all is warm, to its last."""
    quarter = max(1, len(rss_mb) // 4)
    return median(rss_mb[-quarter:]) - median(rss_mb[quarter : 2 * quarter] or rss_mb[:1])
