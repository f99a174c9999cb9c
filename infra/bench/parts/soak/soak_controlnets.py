"""Part ``soak_controlnets``: eight clients, jobs of two ControlNets, two ControlNet workers: no deadlock,
no leak."""

import base64
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from redis import Redis

from infra.bench.harness.fleet import Fleet, running_fleet
from infra.bench.harness.processes import family, rss_mb
from infra.bench.harness.report import Bound, CheckFailed, Measured, Result
from infra.emoji_files import CONTROL

CLIENTS, UNETS, CONTROLNETS = 8, 4, 2
STEPS = 4
#: Every UNet worker generates a job of its own: that is what puts the ControlNets to the test.
ALONE = {"latent_parallelism": "off"}
#: A job that is not generated within this waits for something that never comes.
STUCK_S = 120.0
EVERY_S = 1.0
#: Shared memory of this user's workers: `workers.transport.backends.host_memory`.
SHARED = Path("/dev/shm")
#: The last third of the run may hold so much more than the second: all else is a leak.
BOUNDS = {
    "keys_growth": Bound("at_most", 1.2),
    "redis_mb_growth": Bound("at_most", 1.2),
    "worker_mb_growth": Bound("at_most", 1.05),
    "segments_growth": Bound("at_most", 1.2),
}


def measure(quick: bool) -> Measured:
    """Generate until the time is over; raises `CheckFailed` if a job fails, hangs or is another image."""
    seconds = 20.0 if quick else 300.0
    with running_fleet(unet_workers=UNETS, controlnet_workers=CONTROLNETS) as fleet:
        body = _body()
        expected = _generate(fleet, {**body, "lora_loading": {"mode": "exact"}})
        samples: dict[str, list[float]] = {
            "at_s": [],
            "keys": [],
            "redis_mb": [],
            "worker_mb": [],
            "segments": [],
        }
        with _clients(fleet, body, expected, seconds) as done:
            _watch(fleet, samples, seconds)
    figures = {
        "jobs": float(len(done)),
        "jobs_per_s": len(done) / seconds,
        "job_s_p50": median(done),
        "job_s_max": max(done),
        **{
            f"{name}_growth": _growth(samples[name]) for name in ("keys", "redis_mb", "worker_mb", "segments")
        },
        **{f"{name}_max": max(samples[name]) for name in ("keys", "redis_mb", "worker_mb", "segments")},
    }
    return Measured(figures, samples, BOUNDS)


def plot(result: Result, left: Any, right: Any) -> None:
    """What the fleet held, second by second."""
    at_s = result.samples["at_s"]
    for axes, names in ((left, ("keys", "segments")), (right, ("redis_mb", "worker_mb"))):
        for name in names:
            axes.plot(at_s, result.samples[name], label=name)
        axes.set(xlabel="s", ylim=(0, None))
        axes.legend()
    left.set_title("residual Redis' keys, segments in /dev/shm")
    right.set_title("memory of the residual Redis and of the workers, MB")


@contextmanager
def _clients(
    fleet: Fleet, body: dict[str, Any], expected: "np.typing.NDArray[np.uint8]", seconds: float
) -> Iterator[list[float]]:
    """Eight clients that never pause; what they find wrong is raised at the end."""
    deadline = time.monotonic() + seconds
    done, wrong = list[float](), list[str]()

    def client() -> None:
        while time.monotonic() < deadline and not wrong:
            try:
                took_s, job = fleet.generate(body)
            except CheckFailed as error:
                wrong.append(str(error))
                return
            done.append(took_s)
            distance = int(np.abs(fleet.pixels(job).astype(np.int16) - expected).max())
            if distance > 1 or took_s > STUCK_S:
                wrong.append(f"job {job['id']}: {distance} of 255 from the first image, after {took_s:.0f} s")

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    yield done
    for thread in threads:
        thread.join()
    if wrong:
        raise CheckFailed(wrong[0])


def _watch(fleet: Fleet, samples: dict[str, list[float]], seconds: float) -> None:
    redis = Redis.from_url(fleet.stack.env["SWIFT_RESIDUAL_REDIS_URL"].split(",")[0])
    began = time.monotonic()
    while (at_s := time.monotonic() - began) < seconds:
        pids = [pid for name, pid in fleet.stack.pids().items() if name.startswith(("unet", "controlnet"))]
        samples["at_s"].append(at_s)
        samples["keys"].append(float(redis.dbsize()))
        samples["redis_mb"].append(redis.info("memory")["used_memory"] / 1e6)
        samples["worker_mb"].append(sum(rss_mb(member) for pid in pids for member in family(pid)))
        samples["segments"].append(float(sum(1 for path in SHARED.glob("swiftdiffusion-*/*/*"))))
        time.sleep(EVERY_S)


def _growth(values: list[float]) -> float:
    """The last third's median over the second third's."""
    third = len(values) // 3
    return median(values[2 * third :]) / max(median(values[third : 2 * third]), 1e-9)


def _body() -> dict[str, Any]:
    image = base64.b64encode(CONTROL.read_bytes()).decode()
    controlnets = [{"name": name, "image": image, "conditioning_scale": 0.7} for name in ("edge", "colour")]
    return {
        "prompt": "a penguin",
        "seed": 7,
        "num_inference_steps": STEPS,
        "controlnets": controlnets,
        **ALONE,
    }


def _generate(fleet: Fleet, body: dict[str, Any]) -> "np.typing.NDArray[np.uint8]":
    return fleet.pixels(fleet.generate(body)[1])
