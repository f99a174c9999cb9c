"""Masks: here what is transparent is edited, in a job what is white."""

import base64
import io

from PIL import Image, ImageOps, UnidentifiedImageError

from api.submission.images.decode import BROKEN, FORMATS, check_header
from shared.errors import InvalidImage

FIELD = "mask"


def mask_of(data: bytes, *, max_px: int) -> str:
    """The mask of a job in base64, white where ``data`` is transparent; raises `InvalidImage`."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            check_header(image, max_px, FIELD)
            image.load()
            if not image.has_transparency_data:
                raise InvalidImage("the mask has no transparency: transparent parts are edited", field=FIELD)
            mask = ImageOps.invert(image.convert("RGBA").getchannel("A"))
    except UnidentifiedImageError:
        raise InvalidImage("the mask is no PNG or WebP", field=FIELD) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InvalidImage(f"the mask has more than {max_px} pixels", field=FIELD) from None
    except InvalidImage:
        raise
    except BROKEN as error:
        raise InvalidImage(f"the mask is broken or truncated: {error}", field=FIELD) from None
    if mask.getextrema() == (0, 0):
        raise InvalidImage("nothing of the mask is transparent: nothing would be edited", field=FIELD)
    file = io.BytesIO()
    mask.save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()
