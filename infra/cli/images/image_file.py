"""An image of the fleet as a file: its pixels, and the request and receipt in its PNG's text chunks."""

import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from shared.errors import SwiftError

#: What the system and Pillow raise on a file that is no (whole) image, or one too large to be decoded.
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class NoReceipt(SwiftError):
    """The file is no image of a fleet."""

    code = "no_receipt"


@dataclass(frozen=True, kw_only=True)
class GeneratedImage:
    """An image, the request and receipt of its job, and which of the job's images it is, from 0."""

    png: bytes
    image: Image.Image
    request: dict[str, Any]
    receipt: dict[str, Any]
    index: int


def read_image(path: Path) -> GeneratedImage:
    """Read a PNG with the request and the receipt in its text chunks; raises `NoReceipt`."""
    try:
        png = path.read_bytes()
        image = Image.open(io.BytesIO(png), formats=["PNG"])
        image.load()
    except UnidentifiedImageError:
        raise NoReceipt(f"{path} is no PNG, or a broken one") from None
    except _UNREADABLE as error:
        raise NoReceipt(f"{path} is no PNG, or a broken one: {error}") from None
    assert isinstance(image, PngImagePlugin.PngImageFile)
    texts = image.text
    if "receipt" not in texts:
        raise NoReceipt(
            f"{path} carries no receipt: no fleet generated it, or a program saved it without its text chunks"
        )
    return GeneratedImage(
        png=png,
        image=image,
        request=_json(texts, "request", path),
        receipt=_json(texts, "receipt", path),
        index=_index(texts.get("index", texts.get("picture", "0")), path),  # "picture": version 0.1,
    )


def _json(texts: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    try:
        document = json.loads(texts.get(name, ""))
    except (ValueError, RecursionError) as error:
        raise NoReceipt(f"{path}: its {name} is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise NoReceipt(f"{path}: its {name} is no JSON object")
    return document


def _index(text: str, path: Path) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise NoReceipt(f"{path}: its index within the job should be a number, not {text[:20]!r}")
    return int(text)
