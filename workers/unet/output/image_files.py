"""Encodes images as files, which carry their own request and receipt."""

import io
import json
from functools import cache

from PIL import Image, features
from PIL import __version__ as pillow_version
from PIL.PngImagePlugin import PngInfo

from shared.image_files.formats import DEFAULT_QUALITY, PNG, OutputFormat
from shared.image_files.xmp import jpeg_segments, write_packet
from shared.jobs.receipt import Receipt

#: zlib's level: an image of 1024 x 1024 takes 46 ms, and 165 ms at the default of 6.
PNG_LEVEL = 1
#: What a PNG does not carry: where these fields have their defaults, its file is that of earlier versions.
_LOSSY_FIELDS = {"output_format", "output_quality"}


def encode_image(image: Image.Image, receipt: Receipt, index: int) -> bytes:
    """The file of image ``index`` of a job, in the format that its receipt says.

    A replay of the receipt gives the same file: what it carries is of the receipt, not of the job.
    """
    if receipt.spec.output_format == PNG:
        return encode_png(image, receipt, index)
    quality = receipt.spec.output_quality or DEFAULT_QUALITY
    packet = write_packet(
        {"index": str(index), "receipt": json.dumps(receipt.model_dump(mode="json"), separators=(",", ":"))}
    )
    file = io.BytesIO()
    if receipt.spec.output_format == "jpeg":
        image.save(file, format="JPEG", quality=quality, extra=jpeg_segments(packet))
    else:
        image.save(file, format="WEBP", quality=quality, xmp=packet)
    return file.getvalue()


def encode_png(image: Image.Image, receipt: Receipt, index: int) -> bytes:
    """The PNG of image ``index`` of a job, with request, receipt and index in its text chunks."""
    info = PngInfo()
    info.add_itxt("request", receipt.spec.model_dump_json(exclude=_LOSSY_FIELDS))
    info.add_itxt("receipt", receipt.model_dump_json(exclude={"encoder": True, "spec": _LOSSY_FIELDS}))
    info.add_itxt("index", str(index))
    file = io.BytesIO()
    image.save(file, format="PNG", pnginfo=info, compress_level=PNG_LEVEL)
    return file.getvalue()


@cache
def encoder_versions(output_format: OutputFormat) -> dict[str, str]:
    """The libraries that decide the pixels of files of a lossy format; none of a PNG's."""
    if output_format == PNG:
        return {}
    library = {"jpeg": "libjpeg_turbo", "webp": "webp"}[output_format]
    found = features.version(library) or features.version("jpg") or "unknown"
    return {"pillow": pillow_version, library: found}
