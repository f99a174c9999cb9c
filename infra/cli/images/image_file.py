"""An image of the fleet as a file: its pixels, and the request and receipt in its metadata."""

import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from shared.errors import SwiftError
from shared.image_files.xmp import packet_of_segments, read_packet

#: What the system and Pillow raise on a file that is no (whole) image, or one too large to be decoded.
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class NoReceipt(SwiftError):
    """The file is no image of a fleet."""

    code = "no_receipt"


@dataclass(frozen=True, kw_only=True)
class GeneratedImage:
    """An image, the request and receipt of its job, and which of the job's images it is, from 0."""

    data: bytes
    image: Image.Image
    request: dict[str, Any]
    receipt: dict[str, Any]
    index: int


def read_image(path: Path) -> GeneratedImage:
    """Read a PNG with request and receipt in its text chunks, or a JPEG or WebP with the receipt in its XMP.

    Raises `NoReceipt`.
    """
    try:
        data = path.read_bytes()
        image = Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "WEBP"])
        image.load()
    except UnidentifiedImageError:
        raise NoReceipt(f"{path} is no PNG, JPEG or WebP, or a broken one") from None
    except _UNREADABLE as error:
        raise NoReceipt(f"{path} is no PNG, JPEG or WebP, or a broken one: {error}") from None
    texts = _texts(image, path)
    if "receipt" not in texts:
        raise NoReceipt(
            f"{path} carries no receipt: no fleet generated it, or a program saved it without its metadata"
        )
    receipt = _json(texts, "receipt", path)
    return GeneratedImage(
        data=data,
        image=image,
        request=_json(texts, "request", path) if image.format == "PNG" else receipt.get("spec", {}),
        receipt=receipt,
        index=_index(texts.get("index", texts.get("picture", "0")), path),  # "picture": version 0.1,
    )


def _texts(image: Image.Image, path: Path) -> dict[str, Any]:
    """What the metadata of an image holds, by name."""
    if image.format == "PNG":
        return dict(image.text)  # type: ignore[attr-defined]
    try:
        if image.format == "WEBP":
            packet = image.info.get("xmp", b"")
        else:
            packet = packet_of_segments(
                data for name, data in getattr(image, "applist", ()) if name == "APP1"
            )
        return read_packet(packet) if packet else {}
    except ValueError as error:
        raise NoReceipt(f"{path}: {error}") from None


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
