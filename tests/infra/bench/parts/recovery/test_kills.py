"""What the part `kills` reads from timelines and connections; that nothing is lost is `tests/fleet`'s."""

import subprocess
import sys
from typing import Any

import pytest
from redis import Redis

from infra.bench.harness.report import judge
from infra.bench.parts.recovery.kill_targets import is_waiting
from infra.bench.parts.recovery.kills import FULL_ONLY, KINDS, _bounds, _figures
from infra.bench.parts.recovery.recovery_checks import (
    began_anew_elsewhere,
    computed_again,
    follower_was_replaced,
    lost_its_controlnet,
    lost_its_residuals,
    step_s,
    stood_s,
)
from shared.settings import Settings
from tests.infra.local.waiting import eventually


def job(*spans: tuple[str, float, float, str], continued_at: tuple[int, ...] = ()) -> dict[str, Any]:
    """Three steps that begin at 1, 2 and 6 s: the second lasts long."""
    every = [
        ("queued", 0.0, 0.5, "queue"),
        *[("encoder", start, start + 0.4, "unet1@host") for start in (1.0, 2.0, 6.0)],
        *spans,
    ]
    timeline = [
        {"name": name, "start_s": start, "end_s": end, "worker": worker} for name, start, end, worker in every
    ]
    return {
        "timeline": timeline,
        "receipt": {"continued_at": list(continued_at)},
        "progress": {"step": 3, "total": 3},
    }


def controlnets(
    *workers: str, ends: tuple[float, ...] = (1.5, 5.5, 6.5)
) -> list[tuple[str, float, float, str]]:
    return [
        ("controlnet edge", end - 0.4, end, f"{worker}@host")
        for end, worker in zip(ends, workers, strict=True)
    ]


def test_a_job_stood_still_for_as_long_as_its_longest_step_was_longer_than_usual() -> None:
    assert step_s(job()) == [1.0, 4.0]
    assert stood_s(job(), 2.2, usual_s=1.0) == 3.0


def test_a_job_that_began_anew_stood_still_until_then() -> None:
    assert stood_s(job(), -4.0, usual_s=1.0) == 4.5


def test_a_controlnet_is_lost_when_another_worker_finishes_the_current_step() -> None:
    two = controlnets("controlnet1", "controlnet2", "controlnet2")
    assert lost_its_controlnet(job(*two), "controlnet1", 2.2)
    assert not lost_its_controlnet(job(*two), "controlnet2", 2.2)
    done = controlnets("controlnet1", "controlnet2", "controlnet2", ends=(1.5, 2.1, 6.5))
    assert not lost_its_controlnet(job(*done), "controlnet1", 2.2)


def test_residuals_are_lost_when_the_current_step_still_waited_for_them() -> None:
    assert lost_its_residuals(job(*controlnets("a", "b", "a")), "residual-redis", 2.2)
    assert not lost_its_residuals(
        job(*controlnets("a", "b", "a", ends=(1.5, 2.1, 6.5))), "residual-redis", 2.2
    )


def test_a_follower_is_replaced_when_another_one_predicts_after_the_kill() -> None:
    before, after = ("uncond branch", 1.0, 1.4, "unet2@host"), ("uncond branch", 6.0, 6.4, "unet3@host")
    assert follower_was_replaced(job(before, after), "unet2", 2.2)
    assert not follower_was_replaced(job(before, after), "unet3", 2.2)
    assert not follower_was_replaced(job(before), "unet2", 2.2)


def test_a_job_that_is_claimed_after_the_signal_began_anew_if_another_worker_generated_it() -> None:
    assert not began_anew_elsewhere(job(("decoder", 6.4, 6.8, "unet1@host")), "unet1", 0.2)
    assert began_anew_elsewhere(job(("decoder", 6.4, 6.8, "unet2@host")), "unet1", 0.2)
    assert not began_anew_elsewhere(job(("decoder", 6.4, 6.8, "unet2@host")), "unet1", 0.7)


def test_steps_are_computed_again_from_the_last_checkpoint_on() -> None:
    assert computed_again(job(continued_at=(3,)), step=5, at_s=0.2) == 3
    assert computed_again(job(continued_at=(2, 6)), step=5, at_s=0.2) == 0
    assert computed_again(job(), step=5, at_s=0.2) == 6
    assert computed_again(job(), step=5, at_s=0.7) == 0  # the same attempt went on


WAITING = """
import sys
from redis import Redis
Redis.from_url(sys.argv[1], socket_timeout=None).blpop(["work-of-a-test"])
print("working", flush=True)
sys.stdin.read()
"""


def test_a_waiting_process_is_distinguished_from_a_computing_one(residual: Redis, servers: Settings) -> None:
    command = [sys.executable, "-c", WAITING, servers.residual_redis_url[0]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        eventually(lambda: is_waiting(residual, process.pid), timeout_s=30)
        residual.rpush("work-of-a-test", 1)
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        assert not is_waiting(residual, process.pid)
        process.communicate()  # its input ends, and so does it


def samples_of(*kinds: str) -> dict[str, list[float]]:
    measured = ("lost_s", "cost_s", "steps_again", "stood_s", "whole_s", "undisturbed_s", "step_s")
    return {f"{key}_{name}": [1.0, 1.0, 1.0] for key in (*measured, "max_abs_diff") for name in kinds}


@pytest.mark.parametrize(("cost_s", "met"), [(4.9, True), (5.1, False)])
def test_one_kill_that_costs_more_than_its_bound_misses_the_target(cost_s: float, met: bool) -> None:
    samples = samples_of(*KINDS)
    samples["cost_s_unet"] = [1.0, cost_s, 2.0]
    figures = _figures(samples, steps=4)
    assert figures["cost_s_unet"] == 2.0
    assert judge(figures, _bounds(samples))["cost_s_unet_max"].met is met


def test_the_quick_form_has_targets_for_the_kinds_that_it_measures() -> None:
    quick = [name for name in KINDS if name not in FULL_ONLY]
    samples = samples_of(*quick)
    judged = judge(_figures(samples, steps=4), _bounds(samples))
    assert {"stood_s_unet_max", "stood_s_stopped_max", "stood_s_server_max"} <= judged.keys()
    assert all(target.met for target in judged.values())
