"""``swiftdiffusion generate PROMPT``: images from a prompt, with a progress bar."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from infra.cli.client import encode_image
from infra.cli.generation.controlnet_options import OF_CONTROLNETS, controlnet_options, read_controlnets
from infra.cli.generation.family_options import family_options
from infra.cli.options import INPUT_FILE, OutputFile, api_option, connected
from infra.cli.progress import run_with_progress
from shared.catalog.schedulers import SCHEDULERS
from shared.image_files.formats import DEFAULT_QUALITY, OUTPUT_FORMATS, PNG
from shared.settings import Settings
from shared.tenants.tenant import PRIORITIES

#: What a file's name says of its format; no other name does.
_ENDINGS = {".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


@click.command()
@click.argument("prompt")
@click.option("-o", "--out", type=OutputFile(), metavar="FILE", help="Image to write.")
@controlnet_options
@click.option("--image", type=INPUT_FILE, help="Image to image: the image to start from.")
@click.option("--mask-image", type=INPUT_FILE, help="Inpainting: white where the image is to change.")
@click.option("--strength", type=click.FloatRange(0, 1), help="How much of --image may change.")
@click.option("--model", help="A model of the catalog; else the default one.")
@click.option("--negative-prompt", help="What the images should not show.")
@click.option(
    "--prompt-syntax",
    type=click.Choice(["plain", "a1111"]),
    help="a1111: prompts have weights, (x:1.2), BREAK and <lora:name:weight>; plain is the default.",
)
@click.option("--width", type=int, help="Pixels; else the model's own width.")
@click.option("--height", type=int, help="Pixels; else the model's own height.")
@click.option("--num-inference-steps", "--steps", type=int, help="Denoising steps; else the model's default.")
@click.option("--guidance-scale", type=float, help="Classifier-free guidance; else the model's default.")
@click.option(
    "--scheduler",
    shell_complete=lambda context, parameter, incomplete: [
        name for name in SCHEDULERS if name.startswith(incomplete)
    ],
    help="For example ddim, euler_a or dpmpp_2m_karras; else the model's default.",
)
@click.option("--seed", type=int, help="Of the first image; else a random one.")
@click.option("-n", "--num-images", type=int, help="How many images.")
@click.option(
    "--output-format",
    type=click.Choice(OUTPUT_FORMATS),
    help="Of the files; else what --out ends with, else png.",
)
@click.option(
    "--output-quality",
    type=click.IntRange(1, 100),
    help=f"Of jpeg and webp; {DEFAULT_QUALITY} is the default.",
)
@click.option(
    "--lora-loading",
    type=click.Choice(["bounded", "exact"]),
    help="Whether the first steps may run before the LoRA has arrived; bounded is the default.",
)
@click.option(
    "--priority",
    type=click.Choice(PRIORITIES),
    help="Of your own jobs those of a higher one come first; normal is the default.",
)
@click.option(
    "--deadline",
    "deadline_s",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Refuse the job if it cannot be done so soon, and fail it if it is not.",
)
@family_options
@click.option("--dry-run", is_flag=True, help="Print when the job would be done, and generate nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the job, or its estimate, as JSON.")
@api_option
@click.pass_obj
def command(
    settings: Settings, /, out: Path | None, as_json: bool, dry_run: bool, api: str | None, **options: Any
) -> None:
    """Generate images from a prompt, show the progress, write their files.

    Ctrl-C cancels the job. The paths that were written are printed; every file carries its receipt.

    \b
      swiftdiffusion generate "a red apple" --lora twemoji=0.8 --control edge=map.png -o apple.png
    """
    if options["output_format"] is None and out is not None:
        options["output_format"] = _ENDINGS.get(out.suffix.lower())
    request = _request(**options)
    with connected(api, settings) as client:
        if dry_run:
            estimate = client.estimate(request)
            click.echo(json.dumps(estimate, indent=2) if as_json else _describe(estimate))
            return
        job = run_with_progress(client, request, Console(stderr=True))
        paths = client.result(job).save(out or Path(f"{job['id']}.{request.get('output_format', PNG)}"))
    for warning in job["warnings"]:
        click.echo(f"Note: {warning}", err=True)
    click.echo(json.dumps(job, indent=2) if as_json else "\n".join(map(str, paths)))


def _request(
    *,
    loras: Sequence[tuple[str, float]],
    controls: Sequence[tuple[str, Path]],
    image: Path | None,
    mask_image: Path | None,
    lora_loading: str | None,
    **fields: Any,
) -> dict[str, Any]:
    """The body of ``POST /v1/jobs``: what was given, and nothing else."""
    of_controlnets = {field: fields.pop(field) for field, _, _ in OF_CONTROLNETS.values()}
    request = {name: value for name, value in fields.items() if value is not None}
    for name, path in (("image", image), ("mask_image", mask_image)):
        if path is not None:
            request[name] = encode_image(path)
    request["loras"] = [{"name": name, "scale": scale} for name, scale in loras]
    request["controlnets"] = read_controlnets(controls, of_controlnets)
    if lora_loading is not None:
        request["lora_loading"] = {"mode": lora_loading}
    return request


def _describe(estimate: Mapping[str, Any]) -> str:
    """An estimate in words."""
    place = f"{estimate['device_seconds']:g} s of a device, number {estimate['queue_position']} of the queue"
    if estimate["eta_s"] is None:
        return f"{place}; no worker serves the model"
    half, most = estimate["eta_s"], estimate["eta_p90_s"]
    return f"{place}; half of such jobs are done within {half:g} s, nine of ten within {most:g} s"
