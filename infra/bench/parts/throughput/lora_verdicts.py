"""What placement brings, from the runs of several variants with the same jobs."""

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple

from infra.bench.harness.report import Result
from infra.bench.harness.samples import percentile
from infra.bench.parts.throughput.lora_variants import LINE_BYTES_PER_S, VARIANTS, Run

TIERS = ("memory", "disk", "s3")
#: The variants that a verdict divides.
WITH_IT, WITHOUT = "placement", "no_placement"
COMPARED: Mapping[str, Callable[[Run], float]] = {
    "images_per_s": lambda run: run.images_per_s,
    "p50": lambda run: percentile(run.latencies_s, 50),
    "late_step": lambda run: run.late_step,
}


class Case(NamedTuple):
    """Workers and a load."""

    workers: int
    load: str

    @property
    def name(self) -> str:
        """For figures."""
        return f"{self.load}_{self.workers}"


#: The runs of each variant in a case, round by round.
Runs = Mapping[str, list[Run]]


def describe(case: Case, runs: Runs) -> dict[str, float]:
    """Figures of each variant, of all rounds' jobs together."""
    figures: dict[str, float] = {}
    for name, rounds in runs.items():
        latencies_s = [seconds for run in rounds for seconds in run.latencies_s]
        steps = [step for run in rounds for step in run.late_steps]
        tiers = [tier for run in rounds for tier in run.tiers]
        fetched = sum(run.fetched_bytes for run in rounds)
        busy_s = sum(len(run.latencies_s) / run.images_per_s for run in rounds)
        own = {
            "images_per_s": median(run.images_per_s for run in rounds),
            "p50_s": percentile(latencies_s, 50),
            "p99_s": percentile(latencies_s, 99),
            "late_step": sum(steps) / max(len(steps), 1),
            "s3_mb_per_image": fetched / 1e6 / len(latencies_s),
            "line_share": fetched / busy_s / LINE_BYTES_PER_S,
            **{f"from_{tier}": tiers.count(tier) / max(len(tiers), 1) for tier in TIERS},
        }
        figures |= {f"{figure}_{name}_{case.name}": value for figure, value in own.items()}
    return figures


def judge(case: Case, runs: Runs) -> dict[str, float]:
    """The ratio of the two variants, with placement by without: median, least and most over the rounds."""
    figures: dict[str, float] = {}
    for name, ratios in _ratios(case, runs).items():
        figures |= {name: median(ratios), f"{name}_min": min(ratios), f"{name}_max": max(ratios)}
    return figures


def _ratios(case: Case, runs: Runs) -> dict[str, list[float]]:
    pairs = list(zip(runs[WITH_IT], runs[WITHOUT], strict=True))
    return {
        f"ratio_{figure}_{case.name}": [read(one) / (read(other) or 1.0) for one, other in pairs]
        for figure, read in COMPARED.items()
    }


def samples_of(runs: Mapping[Case, Runs]) -> dict[str, list[float]]:
    """Ratios of all rounds, and latencies."""
    samples: dict[str, list[float]] = {}
    for case, by_variant in runs.items():
        samples |= {
            name.replace("ratio_", "ratios_", 1): ratios for name, ratios in _ratios(case, by_variant).items()
        }
        for name, rounds in by_variant.items():
            samples[f"latencies_s_{name}_{case.name}"] = [
                seconds for run in rounds for seconds in run.latencies_s
            ]
    return samples


def plot(result: Result, left: Any, right: Any) -> None:
    """The verdicts on images a second with their spread, and latencies while jobs wait."""
    prefix = "ratios_images_per_s_"
    cases = [name for name in result.samples if name.startswith(prefix)]
    for place, name in enumerate(cases):
        ratios = result.samples[name]
        left.vlines([place], min(ratios), max(ratios))
        left.plot([place], [median(ratios)], "o", color="C0")
    left.axhline(1, color="gray", linewidth=0.8)
    left.set_xticks(range(len(cases)), [name.removeprefix(prefix) for name in cases])
    left.set(title="images/s, with placement over without", ylabel="least, median, most of the rounds")
    for variant in VARIANTS:
        name = next(
            name for name in reversed(result.samples) if name.startswith(f"latencies_s_{variant}_busy")
        )
        right.ecdf(result.samples[name], label=variant.replace("_", " "))
    right.set(
        xlabel="s from arrival to image", ylabel="share of jobs", title=name.rpartition("placement_")[2]
    )
    right.legend()
