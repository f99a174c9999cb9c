"""``png-info``: the text in a PNG that says how it was generated, and the values in it.

Source: AUTOMATIC1111/stable-diffusion-webui, ``modules/images.py`` (``read_info_from_image``) and
``modules/infotext_utils.py`` (``parse_generation_parameters``).
"""

import io
import json
import re

from flask import Blueprint, Response, request
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from api.compat.a1111.generation.family_fields import told_cfg_scale
from api.compat.a1111.generation.info import PARAMETERS
from api.compat.a1111.generation.infotext import infotext
from api.json_response import json_response
from api.routes.json_body import require_json_object
from api.services import Services
from api.submission.images.decode import FORMATS, check_header, decode_base64, image_errors
from api.submission.images.image_work import work_on_images
from shared.jobs.receipt import Receipt

#: Values that make a line one of parameters, and how long it may be: time grows with it.
_LEAST, _MAX_CHARS = 3, 100_000
_PARAMETER = re.compile(r'\s*(\w[\w \-/]*+):\s*("(?:\\.|[^\\"])*+"|[^,]*+)(?:,|$)')
_SIZE = re.compile(r"(\d+)x(\d+)")
_NEGATIVE = "Negative prompt:"


class PngInfoRequest(BaseModel):
    """The image is base64, or a data: URL."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    image: str


class PngInfoResponse(BaseModel):
    """``items`` are the other texts of the file, ``parameters`` the values in ``info``."""

    info: str
    items: dict[str, str]
    parameters: dict[str, str]


def add_png_info_route(api: Blueprint, services: Services) -> None:
    """Add the call to ``api``."""

    @api.post("/sdapi/v1/png-info")
    def png_info() -> Response:
        require_json_object()
        text = PngInfoRequest.model_validate(request.get_json()).image
        return json_response(work_on_images(lambda: _read(text, services), services))


def _read(text: str, services: Services) -> PngInfoResponse:
    max_px = services.settings.max_control_px
    data = decode_base64(text, "image")
    with image_errors("image", max_px), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        check_header(image, max_px, "image")
        image.load()  # a PNG may have text behind its pixels
        texts = {str(name): text for name, text in image.info.items() if isinstance(text, str)}
    info = texts.pop(PARAMETERS, "") or _info_of_receipt(texts, services)
    return PngInfoResponse(info=info, items=texts, parameters=parse_parameters(info))


def parse_parameters(info: str) -> dict[str, str]:
    """The prompts and the values of the last line, by A1111's names; a size also as its sides."""
    *lines, last = info.strip().split("\n")
    values = _values(last)
    if len(values) < _LEAST:
        lines, values = [*lines, last], {}
    prompts: dict[bool, list[str]] = {False: [], True: []}
    is_negative = False
    for line in map(str.strip, lines):
        is_negative = is_negative or line.startswith(_NEGATIVE)
        prompts[is_negative].append(line.removeprefix(_NEGATIVE).strip())
    found = {"Prompt": "\n".join(prompts[False]), "Negative prompt": "\n".join(prompts[True])}
    for name, value in values.items():
        size = _SIZE.fullmatch(value)
        found |= {f"{name}-1": size[1], f"{name}-2": size[2]} if size else {name: value}
    return found


def _values(line: str) -> dict[str, str]:
    found: dict[str, str] = {}
    position = 0
    while len(line) <= _MAX_CHARS and (value := _PARAMETER.match(line, position)) is not None:
        found[value[1]] = _unquoted(value[2].strip())
        position = value.end()
    return found


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value


def _info_of_receipt(texts: dict[str, str], services: Services) -> str:
    """The text of an image that this fleet generated for another API; empty for any other."""
    try:
        receipt = Receipt.model_validate_json(texts["receipt"])
        seed = receipt.spec.image_seeds[int(texts.get("index", "0"))]
        return infotext(receipt, seed, told_cfg_scale(receipt.spec, services))
    except (KeyError, ValueError, IndexError, ValidationError):
        return ""
