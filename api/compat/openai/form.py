"""Reads the multipart form of an edit: everything in it is text or a file."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from flask import Request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import UnsupportedMediaType

from api.compat.openai.mask import mask_of
from api.services import Services
from shared.errors import InvalidRequest

#: Fields whose value is text, whatever it looks like.
_TEXTS = frozenset(
    {"prompt", "negative_prompt", "prompt_2", "negative_prompt_2", "model", "size", "scheduler"}
    | {"response_format", "output_format", "background", "quality", "style", "moderation", "user"}
    | {"safety_identifier", "input_fidelity", "long_prompt", "priority", "residual_precision"}
)
#: ``loras[][name]``, as clients write a list of objects.
_ITEM = re.compile(r"(\w+)\[\]\[(\w+)\]")


def read_edit(request: Request, services: Services) -> tuple[dict[str, Any], dict[str, str]]:
    """The fields of an edit, and its image and mask in base64; raises `InvalidRequest` for a field."""
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType("an edit is sent as multipart/form-data, its image as a file")
    settings = services.settings
    request.max_content_length = request.max_form_memory_size = settings.max_body_bytes
    files = request.files
    for name in files.keys() - {"image", "image[]", "mask"}:
        raise InvalidRequest("no file is expected here", field=name[:100])
    images = [*files.getlist("image"), *files.getlist("image[]")]
    if len(images) != 1:
        raise InvalidRequest(f"one image can be edited, and there are {len(images)}", field="image")
    found = {"image": base64.b64encode(images[0].read()).decode()}
    if masks := files.getlist("mask"):
        data, max_px = masks[0].read(), settings.max_control_px
        found["mask_image"] = services.offload(lambda: mask_of(data, max_px=max_px))
    return read_fields(request.form), found


def read_fields(form: "MultiDict[str, str]") -> dict[str, Any]:
    """The fields of a form, with the types that they have in JSON."""
    fields: dict[str, Any] = {}
    items: dict[str, dict[str, list[Any]]] = {}
    for name, texts in form.lists():
        item = _ITEM.fullmatch(name)
        if item is not None:
            items.setdefault(item[1], {})[item[2]] = [_value(item[2], text) for text in texts]
        elif name.endswith("[]"):
            fields[name.removesuffix("[]")] = [_value(name, text) for text in texts]
        elif len(texts) > 1:
            raise InvalidRequest("it is given twice", field=name[:100])
        else:
            fields[name] = _value(name, texts[0])
    return fields | {name: _objects(name, values) for name, values in items.items()}


def _value(name: str, text: str) -> Any:
    """JSON, or the text itself where it is none."""
    if name in _TEXTS:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _objects(name: str, values: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """The objects whose fields came as a list of values each."""
    counts = {len(column) for column in values.values()}
    if len(counts) != 1:
        raise InvalidRequest("each must have the same fields; send a JSON string instead", field=name[:100])
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
