"""Part ``kills``: a worker that ends in the middle of a job costs time, never another image. How much time?

Elastic workers, as many as the local stack starts by default; three where a follower is to be replaced. An
undisturbed job and the same job with a signal alternate, for each kind of target in turn. Devices are not
pinned to cores: a worker that restarts competes with those that go on, and that is part of the loss.
"""

import base64
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any

import numpy as np

from infra.bench.harness.fleet import Fleet, running_fleet
from infra.bench.harness.report import FOLDER, Bound, CheckFailed, Measured, Result
from infra.bench.parts.latency.latent import BOUNDS as LATENT
from infra.bench.parts.recovery.kill_targets import Kill, KillTargets
from infra.bench.parts.recovery.recovery_checks import (
    began_anew_elsewhere,
    computed_again,
    follower_was_replaced,
    lost_its_controlnet,
    lost_its_residuals,
    step_s,
    stood_s,
)
from infra.bench.workloads.models import open_workload
from infra.bench.workloads.workload import Workload
from infra.emoji_files import CONTROL
from infra.local.timeline import plot_timeline
from shared.settings import Settings
from workers.unet.cfg_parallel.timings import CFGTimings
from workers.unet.controlnet.call_monitor import WAIT_S

WORKLOAD, CONTROLNET = "mid", "mid-controlnet1"
#: What an operator has who turned nothing.
SETTINGS = Settings()
#: From the end of a UNet worker until another one has claimed its job: killed; stopped, and a step more.
NOTICED_S, HANDED_OVER_S = 5.0, 2.0
#: In either form: so many that another worker can follow before the job ends.
FOLLOWED_STEPS = 20
#: A signal that came between two steps, or while the target was about to change, is sent to another job.
TRIES = 3


@dataclass(frozen=True)
class Kind:
    """Which process is ended, how, and how the finished job shows that it was needed."""

    find: Callable[[KillTargets, str], str | None]
    #: Job, target, and when the signal came, in seconds of the job's timeline.
    was_interrupted: Callable[[Mapping[str, Any], str, float], bool]
    body: Mapping[str, Any] = field(default_factory=dict)
    number: signal.Signals = signal.SIGKILL
    workers: int = 2
    distance: float = 0.0  # of 255, that the image may differ
    counted_attempts: int = 1


def measure(quick: bool) -> Measured:
    """End processes; raises `CheckFailed` if an image differs, or if no signal has hit its job."""
    rounds, steps = (1, 6) if quick else (3, 12)
    workload = open_workload(WORKLOAD)
    samples: dict[str, list[float]] = {}
    chosen = {name: kind for name, kind in KINDS.items() if not (quick and name in FULL_ONLY)}
    for workers in sorted({kind.workers for kind in chosen.values()}):
        kinds = {name: kind for name, kind in chosen.items() if kind.workers == workers}
        with _elastic_fleet(workload, workers) as (fleet, targets):
            for i in range(rounds):
                for name, kind in kinds.items():
                    outcome = _pair(fleet, targets, name, _body(kind, 100 + i, steps))
                    for key, value in outcome.items():
                        samples.setdefault(f"{key}_{name}", []).append(value)
                    print(f"  round {i + 1} of {rounds}, {name}: {_describe(outcome)}", flush=True)
    return Measured(_figures(samples, steps), samples, _bounds(samples))


def plot(result: Result, left: Any, right: Any) -> None:
    """What every signal has cost, with its bound; and how long until somebody went on, and all were back."""
    names = [name for name in KINDS if f"lost_s_{name}" in result.samples]
    for x, name in enumerate(names):
        lost = result.samples[f"lost_s_{name}"]
        left.plot([x] * len(lost), lost, "o", color="C0", label="time lost" if not x else None)
        cost = result.samples[f"cost_s_{name}"]
        left.plot([x] * len(cost), cost, "x", color="C1", label="but steps again" if not x else None)
        bound = result.targets.get(f"cost_s_{name}_max") or result.targets[f"lost_s_{name}_max"]
        left.hlines(bound.at_most, x - 0.3, x + 0.3, color="C3", label="at most" if not x else None)
    left.set_yscale("symlog", linthresh=1)
    left.set(ylabel="s", ylim=(0, None), title="time lost, against the same job undisturbed")
    for shift, key, label in ((-0.2, "stood_s", "the job stood still"), (0.2, "whole_s", "target back")):
        heights = [result.figures[f"{key}_{name}"] for name in names]
        right.bar([x + shift for x in range(len(names))], heights, width=0.4, label=label)
    right.set(ylabel="s", title="after the signal")
    for axes, place in ((left, "lower left"), (right, "upper left")):
        axes.set_xticks(range(len(names)), [name.replace("_", " ") for name in names])
        axes.legend(loc=place)


@contextmanager
def _elastic_fleet(workload: Workload, workers: int) -> Iterator[tuple[Fleet, KillTargets]]:
    """So many elastic workers; each has loaded the ControlNet, and generated or served."""
    with running_fleet(catalog=workload.catalog, unet_workers=workers, controlnet_workers=0) as fleet:
        targets = KillTargets(fleet)
        targets.wait_until_loaded(CONTROLNET)
        fleet.generate(_body(KINDS["server"], 1, 2))
        yield fleet, targets


def _pair(fleet: Fleet, targets: KillTargets, name: str, body: Mapping[str, Any]) -> dict[str, float]:
    """The job undisturbed, then with a signal; seconds. The latter's timeline is plotted, too."""
    kind = KINDS[name]
    targets.wait_until_loaded(CONTROLNET)
    undisturbed_s, undisturbed = fleet.generate(body)
    for _ in range(TRIES):
        disturbed_s, disturbed, kill = _disturbed(fleet, targets, kind, body)
        plot_timeline(disturbed, FOLDER / f"kills-{name}.png")
        at_s = kill.at - datetime.fromisoformat(disturbed["created_at"]).timestamp()
        whole_s = targets.whole_after(kill)
        targets.wait_until_loaded(CONTROLNET)
        if kind.was_interrupted(disturbed, kill.target, at_s):
            break
        print(f"  job {disturbed['id']} went on as if {kill.target} had not ended", flush=True)
    else:
        raise CheckFailed(f"none of {TRIES} signals has interrupted its job: {name}")
    first, second = (fleet.pixels(job).astype(np.int16) for job in (undisturbed, disturbed))
    distance = float(np.abs(first - second).max())
    if distance > kind.distance:
        raise CheckFailed(f"job {disturbed['id']}: {distance:.0f} of 255 from the image without a signal")
    if (counted := targets.counted_attempts(disturbed["id"])) != kind.counted_attempts:
        raise CheckFailed(f"job {disturbed['id']}: {counted} attempts count, not {kind.counted_attempts}")
    usual_s, lost_s = median(step_s(undisturbed)), disturbed_s - undisturbed_s
    steps_again = computed_again(disturbed, kill.step, at_s)
    return {
        "lost_s": lost_s,
        "cost_s": lost_s - steps_again * usual_s,
        "steps_again": float(steps_again),
        "stood_s": stood_s(disturbed, at_s, usual_s),
        "whole_s": whole_s,
        "undisturbed_s": undisturbed_s,
        "step_s": usual_s,
        "max_abs_diff": distance,
    }


def _disturbed(
    fleet: Fleet, targets: KillTargets, kind: Kind, body: Mapping[str, Any]
) -> tuple[float, dict[str, Any], Kill]:
    """The job with a signal in the middle of it: seconds, the job, the signal."""
    kills: list[Kill] = []

    def strike(job: Mapping[str, Any]) -> None:
        step = job["progress"]["step"]
        if not kills and step >= body["num_inference_steps"] // 2:
            target = kind.find(targets, job["id"])
            if target is not None:
                kills.append(targets.end(target, kind.number, step))

    seconds, job = fleet.generate(body, on_poll=strike)
    if not kills:
        raise CheckFailed(f"job {job['id']} was over before its target was found")
    return seconds, job, kills[0]


def _body(kind: Kind, seed: int, steps: int) -> dict[str, Any]:
    image = base64.b64encode(CONTROL.read_bytes()).decode()
    controlnet = {"controlnets": [{"name": CONTROLNET, "image": image}], "latent_parallelism": "off"}
    return {"prompt": "a penguin", "seed": seed, "num_inference_steps": steps, **(kind.body or controlnet)}


#: Jobs without a ControlNet are computed by one device before and after: what is lost is not overlap.
ALONE: Mapping[str, Any] = {"latent_parallelism": "off"}
KINDS = {
    "server": Kind(KillTargets.server, lost_its_controlnet),
    "residual_redis": Kind(KillTargets.residual_redis, lost_its_residuals),
    "unet": Kind(KillTargets.unet_worker, began_anew_elsewhere, ALONE, counted_attempts=2),
    "stopped": Kind(KillTargets.unet_worker, began_anew_elsewhere, ALONE, signal.SIGTERM),
    # The split job has no ControlNets; its image depends on which steps were split.
    "follower": Kind(
        KillTargets.follower,
        follower_was_replaced,
        {"latent_parallelism": "on", "num_inference_steps": FOLLOWED_STEPS},
        workers=3,
        distance=LATENT["latent_max_abs_diff"].value,
    ),
}


#: Left out of the quick form, which has no time for it.
FULL_ONLY = frozenset({"residual_redis"})


def _describe(outcome: Mapping[str, float]) -> str:
    return (
        f"{outcome['lost_s']:.1f} s lost, {outcome['steps_again']:.0f} steps computed again, "
        f"stood still for {outcome['stood_s']:.1f} s"
    )


def _figures(samples: Mapping[str, Sequence[float]], steps: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name in _measured(samples):
        lost = samples[f"lost_s_{name}"]
        figures |= {f"lost_s_{name}": median(lost)}
        figures |= {f"lost_s_{name}_min": min(lost), f"lost_s_{name}_max": max(lost)}
        for key in ("stood_s", "cost_s", "steps_again"):
            figures[f"{key}_{name}_max"] = max(samples[f"{key}_{name}"])
        for key in ("stood_s", "cost_s", "whole_s", "undisturbed_s", "step_s"):
            figures[f"{key}_{name}"] = median(samples[f"{key}_{name}"])
    figures["follower_max_abs_diff"] = max(samples["max_abs_diff_follower"])
    settings = ("residual_timeout_s", "controlnet_lease_s", "lease_s", "checkpoint_every_s")
    return figures | {name: getattr(SETTINGS, name) for name in settings} | {"steps": float(steps)}


def _bounds(samples: Mapping[str, Sequence[float]]) -> dict[str, Bound]:
    """What the worst signal may cost.

    The loss of a worker that serves a step is noticed after its lease and one poll; the step is computed once
    more. Without its follower, a job waits for as long as some of its own CFG branches take, and computes
    alone until another one follows. A step that the residual Redis has lost costs one step deadline at most.
    The job of a killed UNet worker is claimed within `NOTICED_S`, of a stopped one within `HANDED_OVER_S`
    and a step; beside that they cost what is computed again.
    """
    usual_s = {name: max(samples[f"step_s_{name}"]) for name in _measured(samples)}
    lease_s = SETTINGS.controlnet_lease_s + WAIT_S
    handed_over_s = HANDED_OVER_S + usual_s["stopped"]
    bounds = {
        "stood_s_server_max": Bound("at_most", lease_s + usual_s["server"]),
        "lost_s_server_max": Bound("at_most", SETTINGS.residual_timeout_s),
        "lost_s_follower_max": Bound(
            "at_most", usual_s["follower"] * (CFGTimings.wait_factor + FOLLOWED_STEPS // 2)
        ),
        "stood_s_unet_max": Bound("at_most", NOTICED_S),
        "cost_s_unet_max": Bound("at_most", NOTICED_S),
        "stood_s_stopped_max": Bound("at_most", handed_over_s),
        "cost_s_stopped_max": Bound("at_most", handed_over_s),
    }
    if "residual_redis" in usual_s:
        bounds["lost_s_residual_redis_max"] = Bound("at_most", SETTINGS.residual_timeout_s)
    return bounds


def _measured(samples: Mapping[str, Sequence[float]]) -> list[str]:
    return [name for name in KINDS if f"lost_s_{name}" in samples]
