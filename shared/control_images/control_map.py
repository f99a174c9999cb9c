"""What a ControlNet is given for an image: a preprocessor's control map, as large as what is generated."""

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image

from shared.catalog.preprocessors import NONE


def control_map_of(
    png: bytes, preprocessor: str, options: Mapping[str, Any], *, size: tuple[int, int]
) -> bytes:
    """The control map of an image, as PNG of ``size``, which is width and height.

    Resized first, so that an edge is one pixel wide at any size. The preprocessor `NONE` only resizes.
    """
    with Image.open(io.BytesIO(png)) as image:
        resized = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    if preprocessor == NONE:
        file = io.BytesIO()
        resized.save(file, format="PNG", compress_level=1)
        return file.getvalue()
    # Imported here, as it loads OpenCV and numpy, which processes that compute no control map do not need.
    from shared.control_images.preprocessors import compute_control_map

    return compute_control_map(resized, preprocessor, options)
