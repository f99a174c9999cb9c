"""The file formats of generated images."""

from typing import Annotated, Literal, get_args

from pydantic import Field

#: What the files of a job's images are; also how their names end.
OutputFormat = Literal["png", "jpeg", "webp"]
OUTPUT_FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)
PNG: OutputFormat = "png"
#: Of a lossy format. JPEG's and WebP's encoders mean different things by the same number.
OutputQuality = Annotated[int, Field(ge=1, le=100)]
#: Where a request names none. Above it a JPEG grows fast and gains little, says Pillow's documentation.
DEFAULT_QUALITY = 95
#: The largest side that a format can hold, in pixels; a PNG has no such limit.
_SIDE_PX = {"jpeg": 65_535, "webp": 16_383}


def media_type(output_format: str) -> str:
    """The content type of files of this format."""
    return f"image/{output_format}"


def format_of_name(name: str) -> OutputFormat:
    """The format of a file that the fleet has stored, by how its name ends."""
    ending = name.rpartition(".")[2]
    return next((output_format for output_format in OUTPUT_FORMATS if output_format == ending), PNG)


def side_limit_px(output_format: OutputFormat, limit_px: int) -> int:
    """The largest side of an image of this format where ``limit_px`` are allowed."""
    return min(limit_px, _SIDE_PX.get(output_format, limit_px))
