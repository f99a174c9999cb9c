from dataclasses import dataclass, field

import pytest

from infra.bench.parts.throughput.lora_variants import LINE_BYTES_PER_S, Run
from infra.bench.parts.throughput.lora_verdicts import Case, describe, judge, samples_of
from infra.bench.parts.throughput.placement import LOADS, LORAS, make_jobs, replay_rounds
from infra.bench.simulate.traffic import SimulatedJob


def run(images_per_s: float, latencies_s: list[float]) -> Run:
    return Run(latencies_s, images_per_s, [0.0, 2.0], ["disk", "s3"], int(LINE_BYTES_PER_S))


@dataclass
class RecordingVariants:
    """Notes which variant gets which jobs; each job ends at once."""

    sent: list[tuple[str, list[tuple[float, tuple[int, ...]]]]] = field(default_factory=list)

    def run(self, variant: str, jobs: list[SimulatedJob]) -> Run:
        self.sent.append((variant, [(job.at_s, tuple(job.loras)) for job in jobs]))
        return run(1.0, [1.0])


def test_rounds_alternate_variants_that_all_get_the_same_jobs() -> None:
    streams = [make_jobs(2, LOADS["busy"], LORAS, seed) for seed in range(2)]
    variants = RecordingVariants()
    runs = replay_rounds(variants, ("placement", "no_placement"), streams)  # type: ignore[arg-type]
    assert [name for name, _ in variants.sent] == ["placement", "no_placement", "no_placement", "placement"]
    (_, first), (_, second), (_, third), _ = variants.sent
    assert first == second != third
    assert {name: len(rounds) for name, rounds in runs.items()} == {"placement": 2, "no_placement": 2}


def test_jobs_ask_for_few_of_the_loras_often_and_for_none_that_is_not_there() -> None:
    jobs = make_jobs(100, LOADS["busy"], LORAS, seed=1)
    chosen = [lora for job in jobs for lora in job.loras]
    assert set(chosen) <= set(range(LORAS))
    assert chosen.count(0) > 3 * chosen.count(LORAS - 1)


def test_a_verdict_is_the_ratio_within_a_round_with_its_least_and_most() -> None:
    case = Case(2, "busy")
    runs = {
        "placement": [run(2.0, [4.0]), run(6.0, [4.0]), run(3.0, [4.0])],
        "no_placement": [run(1.0, [2.0]), run(2.0, [4.0]), run(3.0, [8.0])],
    }
    figures = judge(case, runs)
    assert figures["ratio_images_per_s_busy_2"] == 2.0
    assert figures["ratio_images_per_s_busy_2_min"] == 1.0
    assert figures["ratio_images_per_s_busy_2_max"] == 3.0
    assert figures["ratio_p50_busy_2"] == 1.0
    assert samples_of({case: runs})["ratios_p50_busy_2"] == [2.0, 1.0, 0.5]


def test_figures_of_a_variant_are_of_all_its_rounds_together() -> None:
    figures = describe(Case(4, "light"), {"placement": [run(1.0, [1.0, 3.0]), run(2.0, [2.0, 9.0])]})
    assert figures["p50_s_placement_light_4"] == 2.0
    assert figures["p99_s_placement_light_4"] == 9.0
    assert figures["late_step_placement_light_4"] == 1.0
    assert figures["from_s3_placement_light_4"] == 0.5
    assert figures["line_share_placement_light_4"] == pytest.approx(2 / 3)  # 2 s of the line in 3 s
