"""The images of requests, as JSON has them."""

import base64
import io

from PIL import Image

from tests.diffusers_peer import CONTROL, mask_image, source_image


def _base64(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


CONTROL_IMAGE = base64.b64encode(CONTROL.read_bytes()).decode()
#: Fields of a job that starts from an image, and from an image and a mask.
IMAGE = {"image": _base64(source_image())}
MASKED = {**IMAGE, "mask_image": _base64(mask_image())}
