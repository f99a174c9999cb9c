"""``swiftdiffusion verify IMAGE.png``: draw a picture's receipt again, and say whether it is the same."""

import argparse
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console

from infra.cli.client import Api, api_argument
from infra.cli.compare import measure
from infra.cli.pictures import Drawn, NoReceipt, picture_argument, read_picture
from infra.cli.progress import watch
from shared.errors import SwiftError
from shared.settings import Settings


class NotDrawn(SwiftError):
    """The fleet accepted the receipt and could not draw it."""

    code = "not_drawn"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `infra.cli.__main__.Command`."""
    picture_argument(parser)
    api_argument(parser)
    parser.add_argument("--out", type=_target, metavar="FILE", help="keep the picture as it is drawn now")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """See `infra.cli.__main__.Command`."""
    drawn = read_picture(options.picture)
    api = Api(options.api or settings.api_url)
    accepted = api.submit({"receipt": drawn.receipt})
    job = watch(api, accepted, Console(stderr=True))
    if job["status"] != "succeeded":
        why = job["error"] or {"code": job["status"], "detail": f"job {job['id']} ended without a picture"}
        raise NotDrawn(f"{why['code']}: {why['detail']}")
    png = api.fetch(_link(job, drawn, options.picture))
    if options.out is not None:
        options.out.write_bytes(png)
    for warning in job["warnings"]:
        print(f"Note: {warning}")
    return _judge(drawn, png)


def _target(text: str) -> Path:
    """Checked before anything is drawn."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(path.parent)!r}")
    return path


def _link(job: Mapping[str, Any], drawn: Drawn, path: Path) -> str:
    images = job["images"]
    if drawn.index >= len(images):
        raise NoReceipt(f"{path} says that it is picture {drawn.index}, its receipt is of {len(images)}")
    return str(images[drawn.index]["url"])


def _judge(drawn: Drawn, png: bytes) -> int:
    """Say how the picture and its redrawing compare; returns the exit code."""
    with Image.open(io.BytesIO(png)) as again:
        if again.size != drawn.image.size:
            print(f"Different: the file is {_size(drawn.image)} pixels, its receipt draws {_size(again)}")
            return 1
        distance = measure(drawn.image, again)
    if not distance.largest:
        file = "and so is the whole file" if png == drawn.png else "the file around them is not"
        print(f"Equal: all {_size(drawn.image)} pixels are the same, {file}")
        return 0
    print(
        f"Different: {distance.share:.2%} of {_size(drawn.image)} pixels,"
        f" by at most {distance.largest} of 255, PSNR {distance.psnr_db:.1f} dB"
    )
    return 1


def _size(image: Image.Image) -> str:
    return f"{image.width} x {image.height}"
