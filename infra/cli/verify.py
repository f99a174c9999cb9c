"""``swiftdiffusion verify IMAGE``: generate an image again from its receipt and compare the two."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from PIL import Image
from rich.console import Console

from infra.cli.images.compare import measure
from infra.cli.images.image_file import GeneratedImage, NoReceipt, read_image
from infra.cli.options import OutputFile, api_option, connected, image_argument
from infra.cli.progress import run_with_progress
from shared.settings import Settings


@click.command()
@image_argument
@api_option
@click.option("-o", "--out", type=OutputFile(), metavar="FILE", help="Keep the image as it is generated now.")
@click.pass_obj
def command(settings: Settings, image: Path, api: str | None, out: Path | None) -> int:
    """Generate an image again from its receipt and compare the two.

    The exit code is 0 if the pixels are equal, 1 if they differ or the job failed.
    """
    original = read_image(image)
    with connected(api, settings) as client:
        job = run_with_progress(client, {"receipt": original.receipt}, Console(stderr=True))
        data = client.fetch(_link(job, original, image))
    if out is not None:
        out.write_bytes(data)
    for warning in job["warnings"]:
        click.echo(f"Note: {warning}")
    return _compare(original, data)


def _link(job: Mapping[str, Any], original: GeneratedImage, path: Path) -> str:
    images = job["images"]
    if original.index >= len(images):
        raise NoReceipt(f"{path} claims to be image {original.index}, but its receipt is of {len(images)}")
    return str(images[original.index]["url"])


def _compare(original: GeneratedImage, data: bytes) -> int:
    """Say how the image and the one of now compare; returns the exit code."""
    with Image.open(io.BytesIO(data)) as again:
        if again.size != original.image.size:
            click.echo(
                f"Different: the file is {_size(original.image)} pixels, its receipt gives {_size(again)}"
            )
            return 1
        distance = measure(original.image, again)
    if not distance.largest:
        file = "and so is the whole file" if data == original.data else "the file around them is not"
        click.echo(f"Equal: all {_size(original.image)} pixels are the same, {file}")
        return 0
    click.echo(
        f"Different: {distance.share:.2%} of {_size(original.image)} pixels,"
        f" by at most {distance.largest} of 255, PSNR {distance.psnr_db:.1f} dB"
    )
    return 1


def _size(image: Image.Image) -> str:
    return f"{image.width} x {image.height}"
