"""Part ``kills``: a SIGKILL in the middle of a job costs time and never changes the image. How much time?

An undisturbed job and the same job with a kill alternate, for each kind of target in turn. Devices are not
pinned to cores: a worker that restarts competes with those that go on, and that is part of the loss.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
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
    lost_its_controlnet,
    lost_its_follower,
    lost_its_residuals,
    lost_its_unet_worker,
    step_s,
    stood_s,
)
from infra.bench.workloads.models import open_workload
from infra.emoji_files import CONTROL
from infra.local.timeline import plot_timeline
from shared.settings import Settings
from workers.unet.cfg_parallel.timings import CFGTimings
from workers.unet.controlnet.call_monitor import WAIT_S

WORKLOAD, CONTROLNET = "mid", "mid-controlnet1"
UNETS, CONTROLNETS = 2, 2
#: What an operator has who turned nothing.
SETTINGS = Settings()
#: From the kill of a UNet worker until another one has claimed its job.
NOTICED_S = 5.0


@dataclass(frozen=True)
class Kind:
    """Which process a kill ends, and how the finished job shows that it was needed."""

    find: Callable[[KillTargets, str], str | None]
    #: Job, target, and when the kill came, in seconds of the job's timeline.
    was_interrupted: Callable[[Mapping[str, Any], str, float], bool]
    body: Mapping[str, Any] = field(default_factory=dict)
    distance: float = 0.0  # of 255, that the image may differ


def measure(quick: bool) -> Measured:
    """Kill; raises `CheckFailed` if an image differs, or if a kill has not hit the job."""
    rounds, steps = (2, 4) if quick else (5, 10)
    workload = open_workload(WORKLOAD)
    samples: dict[str, list[float]] = {}
    with running_fleet(catalog=workload.catalog, unet_workers=UNETS, controlnet_workers=CONTROLNETS) as fleet:
        targets = KillTargets(fleet)
        for kind in KINDS.values():
            fleet.generate(_body(kind, 1, steps))
        for i in range(rounds):
            for name, kind in KINDS.items():
                outcome = _pair(fleet, targets, name, _body(kind, 100 + i, steps))
                for key, value in outcome.items():
                    samples.setdefault(f"{key}_{name}", []).append(value)
                print(f"  round {i + 1} of {rounds}, {name}: {outcome['lost_s']:.1f} s lost", flush=True)
    return Measured(_figures(samples, steps), samples, _bounds(samples, steps))


def plot(result: Result, left: Any, right: Any) -> None:
    """What every kill has cost, with its bound; and how long until somebody went on, and all were back."""
    names = list(KINDS)
    for x, name in enumerate(names):
        lost = result.samples[f"lost_s_{name}"]
        left.plot([x] * len(lost), lost, "o", color="C0", label="a kill" if not x else None)
        at_most = result.targets[f"lost_s_{name}_max"].at_most
        left.hlines(at_most, x - 0.3, x + 0.3, color="C3", label="at most" if not x else None)
    left.set_yscale("symlog", linthresh=1)
    left.set(ylabel="s", ylim=(0, None), title="time lost, against the same job undisturbed")
    for shift, key, label in ((-0.2, "stood_s", "the job stood still"), (0.2, "whole_s", "target back")):
        heights = [result.figures[f"{key}_{name}"] for name in names]
        right.bar([x + shift for x in range(len(names))], heights, width=0.4, label=label)
    right.set(ylabel="s", title="after the kill")
    for axes, place in ((left, "lower left"), (right, "upper left")):
        axes.set_xticks(range(len(names)), [name.replace("_", " ") for name in names])
        axes.legend(loc=place)


def _pair(fleet: Fleet, targets: KillTargets, name: str, body: Mapping[str, Any]) -> dict[str, float]:
    """The job undisturbed, then with a kill; seconds. The latter's timeline is plotted, too."""
    kind = KINDS[name]
    targets.rest()
    undisturbed_s, undisturbed = fleet.generate(body)
    kills: list[Kill] = []

    def strike(job: Mapping[str, Any]) -> None:
        if not kills and job["progress"]["step"] >= body["num_inference_steps"] // 2:
            target = kind.find(targets, job["id"])
            if target is not None:
                kills.append(targets.kill(target))

    disturbed_s, disturbed = fleet.generate(body, on_poll=strike)
    if not kills:
        raise CheckFailed(f"job {disturbed['id']} was over before its target was found")
    plot_timeline(disturbed, FOLDER / f"kills-{name}.png")
    kill = kills[0]
    at_s = kill.at - datetime.fromisoformat(disturbed["created_at"]).timestamp()
    if not kind.was_interrupted(disturbed, kill.target, at_s):
        raise CheckFailed(f"job {disturbed['id']} went on as if {kill.target} had not been killed")
    first, second = (fleet.pixels(job).astype(np.int16) for job in (undisturbed, disturbed))
    distance = float(np.abs(first - second).max())
    if distance > kind.distance:
        raise CheckFailed(f"job {disturbed['id']}: {distance:.0f} of 255 from the image without a kill")
    usual_s = median(step_s(undisturbed))
    return {
        "lost_s": disturbed_s - undisturbed_s,
        "stood_s": stood_s(disturbed, at_s, usual_s),
        "whole_s": targets.whole_after(kill),
        "undisturbed_s": undisturbed_s,
        "step_s": usual_s,
        "max_abs_diff": distance,
    }


def _body(kind: Kind, seed: int, steps: int) -> dict[str, Any]:
    image = base64.b64encode(CONTROL.read_bytes()).decode()
    controlnet = {"controlnets": [{"name": CONTROLNET, "image": image}], "latent_parallelism": "off"}
    return {"prompt": "a penguin", "seed": seed, "num_inference_steps": steps, **(kind.body or controlnet)}


#: The split job has no ControlNets: there are two devices. Its image depends on which steps were split.
KINDS = {
    "controlnet": Kind(KillTargets.controlnet_worker, lost_its_controlnet),
    "follower": Kind(
        KillTargets.follower,
        lost_its_follower,
        {"latent_parallelism": "on"},
        LATENT["latent_max_abs_diff"].value,
    ),
    "residual_redis": Kind(KillTargets.residual_redis, lost_its_residuals),
    "unet": Kind(KillTargets.unet_worker, lost_its_unet_worker),
}


def _figures(samples: Mapping[str, Sequence[float]], steps: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name in KINDS:
        lost = samples[f"lost_s_{name}"]
        figures |= {f"lost_s_{name}": median(lost)}
        figures |= {f"lost_s_{name}_min": min(lost), f"lost_s_{name}_max": max(lost)}
        figures[f"stood_s_{name}_max"] = max(samples[f"stood_s_{name}"])
        for key in ("stood_s", "whole_s", "undisturbed_s", "step_s"):
            figures[f"{key}_{name}"] = median(samples[f"{key}_{name}"])
    figures["follower_max_abs_diff"] = max(samples["max_abs_diff_follower"])
    settings = ("residual_timeout_s", "controlnet_lease_s", "lease_s", "checkpoint_every_s")
    return figures | {name: getattr(SETTINGS, name) for name in settings} | {"steps": float(steps)}


def _bounds(samples: Mapping[str, Sequence[float]], steps: int) -> dict[str, Bound]:
    """What the worst kill may cost.

    A lost step costs one step deadline at most. The loss of a ControlNet worker is noticed sooner: after its
    lease and one poll, the step is computed once more. Without its follower, a job waits for as long as some
    of its own CFG branches take, and computes the rest alone. The loss of a UNet worker is noticed after its
    lease, when another looks for such jobs; it goes on from the last checkpoint, and computes again the steps
    since then, of which one was not done and one was being stored.
    """
    half_s, own_s = max(samples["step_s_follower"]), max(samples["step_s_unet"])
    noticed_s = SETTINGS.controlnet_lease_s + WAIT_S + max(samples["step_s_controlnet"])
    return {
        "lost_s_controlnet_max": Bound("at_most", SETTINGS.residual_timeout_s),
        "stood_s_controlnet_max": Bound("at_most", noticed_s),
        "lost_s_residual_redis_max": Bound("at_most", SETTINGS.residual_timeout_s),
        "lost_s_follower_max": Bound("at_most", half_s * (CFGTimings.wait_factor + steps - steps // 2)),
        "stood_s_unet_max": Bound("at_most", NOTICED_S),
        "lost_s_unet_max": Bound("at_most", NOTICED_S + SETTINGS.checkpoint_every_s + 2 * own_s),
    }
