"""``swiftdiffusion receipt IMAGE``: what decided the pixels, as JSON."""

import json
from pathlib import Path

import click

from infra.cli.images.image_file import read_image
from infra.cli.options import image_argument


@click.command()
@image_argument
def command(image: Path) -> None:
    """Print the receipt that an image carries: everything that decided its pixels."""
    click.echo(json.dumps(read_image(image).receipt, indent=2))
