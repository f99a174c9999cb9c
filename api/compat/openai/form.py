"""Reads the multipart form of an edit: everything in it is text or a file."""

import base64
import io
import re
from collections.abc import Mapping
from typing import IO, Any

from flask import Request
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import UnsupportedMediaType
from werkzeug.formparser import FormDataParser

from api.compat.openai.mask import mask_of
from api.middleware.request_body import FORM, check_length
from api.middleware.strict_json import loads
from api.services import Services
from api.submission.images.image_work import work_on_images
from shared.errors import BadRequest, InvalidRequest

#: Fields whose value is text, whatever it looks like.
_TEXTS = frozenset(
    {"prompt", "prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3"}
    | {"model", "size", "scheduler"}
    | {"response_format", "output_format", "background", "quality", "style", "moderation", "user"}
    | {"safety_identifier", "input_fidelity", "long_prompt", "priority", "residual_precision"}
)
#: Fields and files of one form.
MAX_PARTS = 1000
#: ``loras[][name]``, as clients write a list of objects.
_ITEM = re.compile(r"(\w+)\[\]\[(\w+)\]")


def read_edit(request: Request, services: Services) -> tuple[dict[str, Any], dict[str, str]]:
    """The fields of an edit, and its image and mask in base64; raises `InvalidRequest` for a field.

    They can be read once: the request keeps neither fields nor files, and may wait for long.
    """
    settings = services.settings
    form, files = _read_form(request, settings.max_body_bytes)
    return read_fields(form), _read_images(files, services)


def _read_images(files: "MultiDict[str, FileStorage]", services: Services) -> dict[str, str]:
    for name in files.keys() - {"image", "image[]", "mask"}:
        raise InvalidRequest("no file is expected here", field=name[:100])
    images = [*files.getlist("image"), *files.getlist("image[]")]
    if len(images) != 1:
        raise InvalidRequest(f"one image can be edited, and there are {len(images)}", field="image")
    found = {"image": base64.b64encode(images[0].read()).decode()}
    if masks := files.getlist("mask"):
        data, max_px = masks[0].read(), services.settings.max_control_px
        found["mask_image"] = work_on_images(lambda: mask_of(data, max_px=max_px), services)
    return found


def _read_form(
    request: Request, max_bytes: int
) -> tuple["MultiDict[str, str]", "MultiDict[str, FileStorage]"]:
    """Fields and files, all of them in memory, within its budget; raises `TooLarge` and `BadRequest`."""
    if request.mimetype != FORM:
        raise UnsupportedMediaType(f"an edit is sent as {FORM}, its image as a file")
    check_length(max_bytes)
    parser = FormDataParser(
        stream_factory=_in_memory,
        max_form_memory_size=max_bytes,
        max_form_parts=MAX_PARTS,
        silent=False,
    )
    try:
        _, form, files = parser.parse(request.stream, FORM, request.content_length, request.mimetype_params)
    except ValueError as error:
        raise BadRequest(f"the form is not well-formed: {error}") from None
    return form, files


def _in_memory(
    total_content_length: int | None,
    content_type: str | None,
    filename: str | None,
    content_length: int | None = None,
) -> IO[bytes]:
    """Werkzeug's own factory writes to disk what is read back at once."""
    return io.BytesIO()


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
    """JSON, or the text itself where it is none; raises `InvalidRequest` for what no JSON body may have."""
    if name in _TEXTS:
        return text
    try:
        return loads(text)
    except InvalidRequest as error:
        raise InvalidRequest(str(error), field=f"{name}.{error.field}".rstrip(".")) from None
    except ValueError:
        return text


def _objects(name: str, values: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """The objects whose fields came as a list of values each."""
    counts = {len(column) for column in values.values()}
    if len(counts) != 1:
        raise InvalidRequest("each must have the same fields; send a JSON string instead", field=name[:100])
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
