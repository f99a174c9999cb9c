"""What is left of a generation call once its job is accepted."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.compat.a1111.generation.fields import Img2ImgFields, Txt2ImgFields
from api.compat.a1111.generation.translate import GenerationCall

#: Characters of a request that may be kept beside what its body counts for.
_SMALL_CHARS = 1 << 16


@dataclass(frozen=True)
class AcceptedCall:
    """A call whose job is accepted: no images, but for those that its answer needs, as they were sent."""

    fields: Txt2ImgFields  # without scripts, which have images
    echo: dict[str, Any]  # the request as it is answered
    warnings: list[str]
    keeps_body: bool  # whether all of this is as large as the body

    @property
    def masked(self) -> Img2ImgFields | None:
        """The fields by which the surroundings of a mask are restored."""
        return self.fields if isinstance(self.fields, Img2ImgFields) and self.fields.mask else None


def accepted_call(call: GenerationCall) -> AcceptedCall:
    """What the answer to a call needs of it, besides its job."""
    fields, echo = call.fields, _echo(call.body, call.fields)
    dropped: dict[str, Any] = {"alwayson_scripts": {}, "override_settings": {}}
    is_masked = isinstance(fields, Img2ImgFields) and bool(fields.mask)
    if not is_masked:
        dropped |= {"init_images": None}
    is_large = is_masked or len(json.dumps(echo)) > _SMALL_CHARS
    known = type(fields).model_fields
    kept = fields.model_copy(update={name: value for name, value in dropped.items() if name in known})
    return AcceptedCall(kept, echo, call.warnings, is_large)


def _echo(body: Mapping[str, Any], fields: Txt2ImgFields) -> dict[str, Any]:
    """The request, without its images, which clients have themselves."""
    left_out: dict[str, Any] = {"alwayson_scripts": {}}
    if not (isinstance(fields, Img2ImgFields) and fields.include_init_images):
        left_out |= {"init_images": None, "mask": None}
    return {**body, **{name: value for name, value in left_out.items() if name in body}}
