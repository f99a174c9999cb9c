"""A picture of the fleet as a file: its pixels, and what its PNG says about how it was drawn."""

import argparse
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from shared.errors import SwiftError

#: What the system and Pillow raise on what is no (whole) picture, or one too large to be decoded.
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class NoReceipt(SwiftError):
    """A file that is no picture of a fleet."""

    code = "no_receipt"


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A picture, the job it is of, and which of the job's pictures it is, counted from 0."""

    png: bytes
    image: Image.Image
    request: dict[str, Any]
    receipt: dict[str, Any]
    index: int


def picture_argument(parser: argparse.ArgumentParser) -> None:
    """The picture a command is about."""
    parser.add_argument("picture", type=_file, metavar="IMAGE.png", help="a picture that a fleet has drawn")


def read_picture(path: Path) -> Drawn:
    """Read a PNG with the request and the receipt in its text chunks; raises `NoReceipt`."""
    try:
        png = path.read_bytes()
        image = Image.open(io.BytesIO(png), formats=["PNG"])
        image.load()
    except _UNREADABLE as error:
        raise NoReceipt(f"{path} is no PNG, or a broken one: {error}") from None
    assert isinstance(image, PngImagePlugin.PngImageFile)
    texts = image.text
    if "receipt" not in texts:
        raise NoReceipt(
            f"{path} carries no receipt: no fleet has drawn it, or a program has saved it without its texts"
        )
    return Drawn(
        png=png,
        image=image,
        request=_json(texts, "request", path),
        receipt=_json(texts, "receipt", path),
        index=_index(texts.get("picture", "0"), path),
    )


def _json(texts: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    try:
        told = json.loads(texts.get(name, ""))
    except ValueError as error:
        raise NoReceipt(f"{path}: its {name} is no JSON: {error}") from None
    if not isinstance(told, dict):
        raise NoReceipt(f"{path}: its {name} is no JSON object")
    return told


def _index(text: str, path: Path) -> int:
    if not text.isdecimal():
        raise NoReceipt(f"{path}: which picture of its job it is should be a number, not {text!r}")
    return int(text)


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    return path
