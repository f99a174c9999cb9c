"""Part ``trace``: a stream with the production trace's mix, against the fleet that people build today.

Both fleets have two cores and the same S3, behind a line on which a LoRA takes about as long, beside a
image, as hundreds of megabytes do in production. Jobs arrive faster than either fleet generates: what counts
is images a second, and latency with its queueing. Beside an image of `STEPS` steps with two
ControlNets, two
LoRAs cost diffusers about what they cost it in the paper (1.3 times the image). With more steps they cost
less, and the ratio tends to one: ``images_per_s_vs_naive_25_steps`` says how far.
"""

import base64
import io
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from infra.bench.baselines.celery_fleet import running_baseline_fleet
from infra.bench.harness.fleet import Fleet, running_fleet
from infra.bench.harness.processes import cpu_s
from infra.bench.harness.report import FOLDER, Bound, CheckFailed, Measured, Result
from infra.bench.harness.s3 import Storage, running_s3
from infra.bench.harness.samples import percentile
from infra.bench.harness.throttled_proxy import slow_line
from infra.bench.workloads.trace_jobs import TraceJob, make_stream, write_loras
from infra.emoji_files import CONTROL
from shared.settings import Settings

BOUNDS = {"images_per_s_vs_naive": Bound("at_least", 2), "p99_vs_naive": Bound("at_most", 1)}
STEPS, OWN_STEPS, GUIDANCE = 6, 25, 3.0
#: Two devices are two cores; here UNet and ControlNet workers share them. On a machine that others use, too,
#: four processes get more of it than two: trust ``cpu_s_per_image_vs_naive`` then.
WORKERS = 2
ARRIVALS_PER_S = 4.0
LINE_BYTES_PER_S = 4e6
#: What an operator may switch off, and how a run without it is called.
VARIANTS: Mapping[str, Mapping[str, bool]] = {
    "both": {},
    "no_placement": {"placement": False},
}
#: Load of the second stream, as a share of what this fleet can generate: workers are often free.
LIGHT_LOAD, LIGHT_FIRST = 0.6, 1000
#: Jobs of the stream that run again in mode ``exact``, and are compared with the baseline fleet's images.
COMPARED = 2
WARM_UP = [TraceJob(0.0, "a warm up", -1 - i, [("edge", 1.0), ("colour", 1.0)], []) for i in range(4)]


class Replayed(NamedTuple):
    """What came of a stream: latencies, how long it took, and of this fleet, how its LoRAs came."""

    latencies_s: list[float]
    images_per_s: float
    cpu_s_per_image: float  # of the workers: what a busy machine disturbs least
    late_steps: list[float]
    tiers: list[str]


class Place(NamedTuple):
    """Where both fleets find LoRAs and leave images."""

    home: Path
    storage: Storage
    url: str  # of S3, over the line


def measure(quick: bool) -> Measured:
    """Replay the stream on both fleets; in full also a lighter one, each variant, and longer jobs.

    Without older jobs that wait, placement has a choice.
    """
    count = 10 if quick else 24
    stream = make_stream(count, ARRIVALS_PER_S)
    with _storage() as place:
        baseline, images = _replay_baseline(stream, STEPS, place)
        [ours] = _replay_ours([stream], STEPS, place, {}, images)
        figures = _compared("", ours, baseline) | _describe("both", ours)
        samples = {"naive_s": baseline.latencies_s, "both_s": ours.latencies_s}
        if not quick:
            light = make_stream(2 * count // 3, LIGHT_LOAD * ours.images_per_s, LIGHT_FIRST)
            for name, changes in VARIANTS.items():
                busy, calm = _replay_ours([stream, light], STEPS, place, changes, {})
                figures |= _describe(f"busy_{name}", busy) | _describe(f"light_{name}", calm)
                samples |= {f"busy_{name}_s": busy.latencies_s, f"light_{name}_s": calm.latencies_s}
            few = stream[: count // 4]
            others, _ = _replay_baseline(few, OWN_STEPS, place)
            [longer] = _replay_ours([few], OWN_STEPS, place, {}, {})
            figures |= _compared(f"_{OWN_STEPS}_steps", longer, others)
    return Measured(figures, samples, BOUNDS)


def plot(result: Result, left: Any, right: Any) -> None:
    """Latencies of both fleets, and of this one without placement under a lighter load."""
    for name, label in (("naive_s", "baseline fleet"), ("both_s", "this fleet")):
        left.ecdf(result.samples[name], label=label)
    left.set(xlabel="s from arrival to image", ylabel="share of jobs", title="the same stream, two cores")
    left.legend()
    for name in VARIANTS:
        if f"light_{name}_s" in result.samples:
            right.ecdf(result.samples[f"light_{name}_s"], label=name.replace("_", " "))
    right.set(xlabel="s from arrival to image", ylabel="share of jobs", title="a lighter stream")
    if right.get_legend_handles_labels()[0]:
        right.legend()


@contextmanager
def _storage() -> Iterator["Place"]:
    """S3 with the stream's LoRAs, reached over a slow line."""
    home = FOLDER / "trace"
    shutil.rmtree(home, ignore_errors=True)
    with running_s3(home / "s3") as storage:
        for path in write_loras(home / "loras"):
            storage.put_lora(path)
        with slow_line(storage.port, LINE_BYTES_PER_S) as port:
            yield Place(home, storage, f"http://127.0.0.1:{port}")


def _replay_baseline(
    stream: Sequence[TraceJob], steps: int, place: Place
) -> tuple[Replayed, Mapping[int, bytes]]:
    """What came of the stream, and the images that are compared."""
    print(f"  {len(stream)} jobs of {steps} steps on the baseline fleet", flush=True)
    settings = Settings(home=place.home / f"baseline{steps}", s3_endpoint_url=place.url)
    generation = {"steps": steps, "guidance_scale": GUIDANCE}
    with running_baseline_fleet(
        settings, place.storage.environment, workers=WORKERS, generation=generation
    ) as fleet:
        fleet.replay(WARM_UP)
        began, spent_s = time.perf_counter(), fleet.cpu_s()
        outcome = fleet.replay(stream)
        took_s, spent_s = time.perf_counter() - began, fleet.cpu_s() - spent_s
    images = {job.seed: place.storage.image(outcome[job.seed].key) for job in stream[:COMPARED]}
    latencies_s = [ended.after_s for ended in outcome.values()]
    return Replayed(latencies_s, len(stream) / took_s, spent_s / len(stream), [], []), images


def _replay_ours(
    streams: Sequence[Sequence[TraceJob]],
    steps: int,
    place: Place,
    changes: Mapping[str, bool],
    images: Mapping[int, bytes],
) -> list[Replayed]:
    """What came of each stream, one after the other on a fresh fleet.

    Raises `CheckFailed` unless ``images`` are generated again to rounding.
    """
    outcome = f"{' and '.join(str(len(stream)) for stream in streams)} jobs of {steps} steps on this fleet"
    print(f"  {outcome} {dict(changes) or ''}", flush=True)
    workers = {"unet_workers": WORKERS, "controlnet_workers": WORKERS}
    with running_fleet(place.storage.environment, s3_endpoint_url=place.url, **workers, **changes) as fleet:
        _replay(fleet, WARM_UP, steps)
        replayed = [_replay(fleet, stream, steps) for stream in streams]
        for job in streams[0]:
            if job.seed in images:
                _compare(fleet, job, steps, images[job.seed])
    return replayed


def _replay(fleet: Fleet, stream: Sequence[TraceJob], steps: int) -> Replayed:
    began, spent_s, ids = time.perf_counter(), _workers_cpu_s(fleet), []
    for job in stream:
        time.sleep(max(0.0, began + job.at_s - time.perf_counter()))
        ids.append(fleet.submit(_body(job, steps)))
    for job_id in ids:
        fleet.wait_for_status(job_id, "succeeded")
    took_s, spent_s = time.perf_counter() - began, _workers_cpu_s(fleet) - spent_s
    jobs = [fleet.job(job_id) for job_id in ids]
    spans = [span["name"] for job in jobs for span in job["timeline"]]
    return Replayed(
        [_latency_s(job) for job in jobs],
        len(stream) / took_s,
        spent_s / len(stream),
        [float(lora["step"]) for job in jobs for lora in job["receipt"]["loras"]],
        [name.rpartition(" ")[2] for name in spans if name.startswith("lora ") and " from " in name],
    )


def _workers_cpu_s(fleet: Fleet) -> float:
    pids = fleet.stack.pids()
    return sum(cpu_s(pid) for name, pid in pids.items() if name.startswith(("unet", "controlnet")))


def _latency_s(job: Mapping[str, Any]) -> float:
    """From submission to the stored image; the timeline's seconds count from the submission."""
    return max(float(span["end_s"]) for span in job["timeline"])


def _body(job: TraceJob, steps: int, **more: Any) -> dict[str, Any]:
    image = base64.b64encode(CONTROL.read_bytes()).decode()
    controlnets = [
        {"name": name, "image": image, "conditioning_scale": scale} for name, scale in job.controlnets
    ]
    loras = [{"name": name, "scale": scale} for name, scale in job.loras]
    body = {"prompt": job.prompt, "seed": abs(job.seed), "num_inference_steps": steps}
    return body | {"guidance_scale": GUIDANCE, "controlnets": controlnets, "loras": loras} | more


def _compare(fleet: Fleet, job: TraceJob, steps: int, theirs: bytes) -> None:
    """Raise `CheckFailed` unless the job in mode ``exact`` is the baseline fleet's image to rounding."""
    _, generated = fleet.generate(_body(job, steps, lora_loading={"mode": "exact"}))
    other = np.asarray(Image.open(io.BytesIO(theirs)).convert("RGB"), dtype=np.int16)
    distance = int(np.abs(fleet.pixels(generated).astype(np.int16) - other).max())
    if distance > 1:
        raise CheckFailed(f"job {job.seed}: a pixel differs by {distance} of 255 from the baseline fleet's")


def _compared(suffix: str, ours: Replayed, baseline: Replayed) -> dict[str, float]:
    def ratio(percent: float) -> float:
        return percentile(ours.latencies_s, percent) / percentile(baseline.latencies_s, percent)

    return {
        f"images_per_s_vs_naive{suffix}": ours.images_per_s / baseline.images_per_s,
        f"p50_vs_naive{suffix}": ratio(50),
        f"p99_vs_naive{suffix}": ratio(99),
        f"cpu_s_per_image_vs_naive{suffix}": ours.cpu_s_per_image / baseline.cpu_s_per_image,
        f"naive_images_per_s{suffix}": baseline.images_per_s,
    }


def _describe(name: str, replayed: Replayed) -> dict[str, float]:
    tiers = replayed.tiers
    return {
        f"images_per_s_{name}": replayed.images_per_s,
        f"cpu_s_per_image_{name}": replayed.cpu_s_per_image,
        f"p50_s_{name}": percentile(replayed.latencies_s, 50),
        f"p99_s_{name}": percentile(replayed.latencies_s, 99),
        f"late_steps_mean_{name}": mean(replayed.late_steps),
        f"found_in_memory_{name}": tiers.count("memory") / max(len(tiers), 1),
        f"found_in_s3_{name}": tiers.count("s3") / max(len(tiers), 1),
    }
