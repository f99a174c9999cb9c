"""``make demo``: start the fleet, generate one image with a ControlNet and a LoRA, show its timeline, stop.

It is a client like any other: boto3 for the LoRA, REST and server-sent events for the job.
"""

import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from types import FrameType
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table

from infra.cli.client import ApiError, Client, encode_image
from infra.cli.progress import run_with_progress
from infra.emoji_files import CONTROL, LORA
from infra.local.s3_client import make_s3_client
from infra.local.stack import Stack, running_stack
from shared.settings import ROOT, Settings

REQUEST: dict[str, Any] = {
    "prompt": "a red car on a green background",
    "seed": 7,
    "width": 64,
    "height": 64,
    "loras": [{"name": LORA.stem, "scale": 0.6}],
    "latent_parallelism": "off",  # the second worker computes the ControlNet instead
}
#: ``demo.png`` is enlarged, because 64 pixels are small; the original is kept.
ENLARGE = 8


def demo(settings: Settings) -> int:
    """Run the demo; returns the exit code. Raises `CannotStart`."""
    signal.signal(signal.SIGTERM, _leave)  # so that the stack is stopped then, too
    console = Console()
    began = time.monotonic()
    console.print("Starting the fleet: two Redis, S3, API, workers, Flower …")
    try:
        with running_stack(settings) as stack:
            console.print(f"Ready after {time.monotonic() - began:.1f} s; the console is at {stack.api_url}/")
            upload_lora(stack.env, LORA)
            console.print(f"Uploaded {LORA.name} to bucket {stack.env['SWIFT_LORA_BUCKET']} with boto3")
            job = _generate(stack, console)
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


def _generate(stack: Stack, console: Console) -> dict[str, Any]:
    """Submit the job and show its progress; returns it once it has succeeded. Raises `ApiError`."""
    request = {**REQUEST, "controlnets": [{"name": "edge", "image": encode_image(CONTROL)}]}
    console.print(f"Submitting {request['prompt']!r} with ControlNet edge and LoRA {LORA.stem}")
    return run_with_progress(Client(stack.api_url, stack.api_key), request, console)


def _keep(stack: Stack, job: dict[str, Any]) -> dict[str, Path]:
    """Write what the job left behind; returns the paths by what they are."""
    folder = stack.home / "demo"
    folder.mkdir(exist_ok=True)
    image_bytes = Client(stack.api_url, stack.api_key).fetch(job["images"][0]["url"])
    paths = {
        f"image, {ENLARGE} times enlarged": ROOT / "demo.png",
        "image as generated, receipt inside": folder / "image.png",
        "timeline": folder / "timeline.png",
        "job": folder / "job.json",
    }
    enlarged, original, timeline, record = paths.values()
    original.write_bytes(image_bytes)
    with Image.open(BytesIO(image_bytes)) as image:
        size = (image.width * ENLARGE, image.height * ENLARGE)
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
    console.print("Look at:")
    for what, path in paths.items():
        console.print(f"  {what}:\n    {path}", soft_wrap=True)  # a path that is cut cannot be opened


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
