"""What a fleet of timed devices costs beside its devices' sleep: measured by equal jobs."""

from dataclasses import replace
from statistics import median
from typing import Any

from infra.bench.simulate.measurements import Measurements
from infra.bench.simulate.traffic import SimulatedJob
from infra.bench.timed.stream import Stream

FEW, MANY, ROUNDS = 4, 16, 3


class Calibration:
    """Runs jobs of `FEW` and of `MANY` steps, which differ by their steps alone.

    Where the machine's noise is larger than a cost, the cost is 0.
    """

    def __init__(self, stream: Stream, *, unets: int, is_elastic: bool) -> None:
        self._stream, self._unets, self._is_elastic = stream, unets, is_elastic

    def warm_up(self, controlnets: int) -> None:
        """Have every worker load everything: each has two jobs with all ControlNets."""
        every = tuple(range(controlnets))
        jobs = [SimulatedJob(0.0, 0, every, steps=FEW) for _ in range(2 * self._unets)]
        self._stream.replay(jobs, latent_parallelism="off")

    def measure(self, measured: Measurements) -> Measurements:
        """The costs of a job, and of a step: of itself, of its requests, of ControlNets of its own, of a
        follower."""
        few_s, plain_s = self._times_of((), self._unets, latent_parallelism="off")
        step_s = max(plain_s - measured.unet_s, 0.0)
        _, split_s = self._times_of((), 1, latent_parallelism="on")
        _, served_s = self._times_of((0,), 1, latent_parallelism="off")
        encoder_s = measured.encoder_share * measured.unet_s
        least_s = max(encoder_s, measured.controlnet_s + measured.residual_s) + measured.unet_s - encoder_s
        claim_s = 0.0
        if self._is_elastic:  # while all have jobs, each computes its own ControlNets
            _, own_s = self._times_of((0,), self._unets, latent_parallelism="off")
            claim_s = max(own_s - plain_s - measured.controlnet_s, 0.0)
        return replace(
            measured,
            step_s=step_s,
            job_s=max(few_s - FEW * plain_s - measured.text_s - measured.vae_s - measured.store_s, 0.0),
            request_s=max(served_s - least_s - step_s, 0.0),
            follow_s=max(split_s - measured.one_branch_share * measured.unet_s - step_s, 0.0),
            claim_s=claim_s,
        )

    def _times_of(self, controlnets: tuple[int, ...], at_once: int, **more: Any) -> tuple[float, float]:
        """Seconds of a job of `FEW` steps, and of one step, with so many jobs at once; medians."""

        def job_s(steps: int) -> float:
            jobs = [SimulatedJob(0.0, 0, controlnets, steps=steps) for _ in range(at_once)]
            rounds = [self._stream.replay(jobs, **more).latencies_s for _ in range(ROUNDS)]
            return median(seconds for one in rounds for seconds in one)

        few_s, many_s = job_s(FEW), job_s(MANY)
        return few_s, (many_s - few_s) / (MANY - FEW)
