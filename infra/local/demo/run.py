"""``make demo``: start the fleet, generate one image with a ControlNet and a LoRA, show its timeline, stop.

It is a client like any other: boto3 for the LoRA, REST and server-sent events for the job.
``MODEL=tiny-flux`` makes a small Flux with random weights and generates with that.
"""

import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import FrameType
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table

from infra.cli.client import ApiError, Client, encode_image
from infra.cli.progress import run_with_progress
from infra.emoji_files import CONTROL
from infra.local.demo.models import MODELS, Example
from infra.local.s3_client import make_s3_client
from infra.local.stack import Stack, running_stack
from shared.settings import ROOT, Settings

#: ``demo.png`` is enlarged to this, because the images are small; the originals are kept.
SHOWN_PX = 512


def demo(settings: Settings, model: str) -> int:
    """Run the demo of a model in `MODELS`; returns the exit code. Raises `CannotStart`."""
    signal.signal(signal.SIGTERM, _leave)  # so that the stack is stopped then, too
    console = Console()
    example = MODELS[model](settings)
    began = time.monotonic()
    console.print("Starting the fleet: two Redis, S3, API, workers, Flower …")
    try:
        with running_stack(example.settings) as stack:
            console.print(f"Ready after {time.monotonic() - began:.1f} s; the console is at {stack.api_url}/")
            upload_lora(stack.env, example.lora)
            console.print(
                f"Uploaded {example.lora.name} to bucket {stack.env['SWIFT_LORA_BUCKET']} with boto3"
            )
            job = _generate(stack, console, example)
            paths = _keep(stack, job)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130
    except ApiError as error:
        Console(stderr=True).print(str(error))
        return 1
    _report(console, job, paths)
    _show_next_steps(console, stack.api_url, job)
    return 0


def upload_lora(env: Mapping[str, str], path: Path) -> None:
    """Put a LoRA into the bucket as anybody would: from then on the fleet has it."""
    make_s3_client(env).upload_file(str(path), env["SWIFT_LORA_BUCKET"], path.name)


def _generate(stack: Stack, console: Console, example: Example) -> dict[str, Any]:
    """Submit the job and show its progress; returns it once it has succeeded. Raises `ApiError`."""
    prompt, name, lora = example.request["prompt"], example.controlnet, example.lora.stem
    controlnet = {"name": name, "image": encode_image(CONTROL)}
    request = {**example.request, "controlnets": [controlnet]}
    console.print(f"Submitting {prompt!r} with ControlNet {name} and LoRA {lora}")
    return run_with_progress(Client(stack.api_url, stack.api_key), request, console)


def _keep(stack: Stack, job: dict[str, Any]) -> dict[str, Path]:
    """Write what the job left behind; returns the paths by what they are."""
    folder = stack.home / "demo"
    folder.mkdir(exist_ok=True)
    image_bytes = Client(stack.api_url, stack.api_key).fetch(job["images"][0]["url"])
    paths = {
        "image, enlarged": ROOT / "demo.png",
        "image as generated, receipt inside": folder / "image.png",
        "timeline": folder / "timeline.png",
        "job": folder / "job.json",
    }
    enlarged, original, timeline, record = paths.values()
    original.write_bytes(image_bytes)
    with Image.open(BytesIO(image_bytes)) as image:
        size = (SHOWN_PX, SHOWN_PX * image.height // image.width)
        image.resize(size, Image.Resampling.NEAREST).save(enlarged)
    record.write_text(json.dumps(job, indent=2) + "\n")
    from infra.local.timeline import plot_timeline  # a plotting library that benchmarks do without

    plot_timeline(job, timeline)
    return paths


def _report(console: Console, job: dict[str, Any], paths: Mapping[str, Path]) -> None:
    spent: Counter[tuple[str, str]] = Counter()
    times: Counter[tuple[str, str]] = Counter()
    for span in job["timeline"]:
        key = (span["name"], span["worker"].split("@")[0])
        spent[key] += span["end_s"] - span["start_s"]
        times[key] += 1
    phases = Table("phase", "by", "times", "seconds", title="Where the time went (phases overlap)")
    for (name, worker), seconds in spent.items():
        phases.add_row(name, worker, str(times[name, worker]), f"{seconds:.3f}")
    console.print(phases)
    for lora in job["receipt"]["loras"]:
        total = job["progress"]["total"]
        console.print(f"LoRA {lora['name']} took effect at step {lora['step']} of {total}.")
    console.print(describe_waits(job))
    console.print("Look at:")
    for what, path in paths.items():
        console.print(f"  {what}:\n    {path}", soft_wrap=True)  # a path that is cut cannot be opened


def describe_waits(job: Mapping[str, Any]) -> str:
    """How often and how long the base model waited for residuals, and for the transfer of those at hand."""
    timeline = job["timeline"]
    steps = sum(span["name"].startswith("controlnet ") for span in timeline)
    waits = [span for span in timeline if span["name"] == "wait for residuals"]
    first, later, transfers = map(
        _describe_spans,
        (
            [span for span in waits if span["residual"] == 0],
            [span for span in waits if span["residual"] != 0],
            [span for span in timeline if span["name"] == "wait for transfer"],
        ),
    )
    return (
        f"In {steps} steps with a ControlNet the base model waited {first} for a step's first residual,"
        f" {later} for later ones, and {transfers} for the transfer of one that was there."
    )


def _describe_spans(spans: Sequence[Mapping[str, Any]]) -> str:
    """How many there are, and their seconds in all."""
    seconds = sum(span["end_s"] - span["start_s"] for span in spans)
    return f"{len(spans)} times ({seconds:.3f} s)"


def _show_next_steps(console: Console, api_url: str, job: Mapping[str, Any]) -> None:
    """What to click: the fleet has stopped, and its state is kept for the next start."""
    console.print("Next, `make up`, and in a browser:")
    for address, what in (
        (f"{api_url}/#/job/{job['id']}", "this job: its timeline, its receipt"),
        (
            f"{api_url}/#/generate?from={job['id']}",
            "the same with another prompt, watched step by step",
        ),
        (f"{api_url}/#/fleet", "what every worker does, and holds"),
    ):
        console.print(f"  {address}\n    {what}", soft_wrap=True)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)
