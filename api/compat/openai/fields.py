"""What OpenAI's image calls take, and which fields of ours that means."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_validator

from api.compat.openai.models import ModelNames
from api.schemas.job_request import JobRequest
from api.schemas.submission import Submission
from shared.errors import InvalidRequest
from shared.image_files.formats import PNG, OutputFormat
from shared.jobs.spec import JobSpec
from shared.message_base import ShortText, StrictMessage
from shared.validation_messages import did_you_mean

#: Sent by habit, or by what other models can do; no image differs here by them.
IGNORED = frozenset(
    {"quality", "style", "moderation", "user", "safety_identifier", "input_fidelity", "complexity"}
)
#: Values of them that ask for nothing.
_NOTHING = ("", "auto", "standard")
#: Of ours, under other names here.
_RENAMED = {
    "width": "size",
    "height": "size",
    "num_images": "n",
    "num_images_per_prompt": "n",
    "output_quality": "output_compression",
    "mask_image": "mask",
}
#: Nothing here does what they ask for.
_REFUSED = frozenset({"svg", "frame_count", "frame_duration_ms", "markup", "images"})
_SIZE = re.compile(r"([0-9]{1,5})[xX×]([0-9]{1,5})")
#: OpenAI's default, unlike ours.
_COMPRESSION = 100


class ImageOptions(StrictMessage):
    """Fields of OpenAI's own that mean something here."""

    model: ShortText | None = None
    n: Annotated[int, Field(ge=1)] = 1
    size: ShortText = "auto"
    response_format: Literal["b64_json", "url"] = "b64_json"
    output_format: OutputFormat = PNG
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    background: Literal["auto", "opaque"] = "auto"
    stream: bool = False
    partial_images: Annotated[int, Field(ge=0, le=3)] = 0

    @field_validator("size")
    @classmethod
    def _is_a_size(cls, size: str) -> str:
        if size != "auto" and not _SIZE.fullmatch(size):
            raise ValueError("must be WIDTHxHEIGHT in pixels, for example 1024x1024, or auto")
        return size

    @property
    def sides(self) -> dict[str, int]:
        """Width and height, unless the model or the image to edit is to decide them."""
        found = _SIZE.fullmatch(self.size)
        return {"width": int(found[1]), "height": int(found[2])} if found else {}

    @property
    def quality(self) -> dict[str, int]:
        """Of a lossy file; OpenAI counts from 0."""
        if self.output_format == PNG:
            return {}
        given = _COMPRESSION if self.output_compression is None else self.output_compression
        return {"output_quality": max(given, 1)}


class ImageCall(NamedTuple):
    """A call, translated: the job it asks for, how it is to be answered, and what was ignored."""

    submission: Submission
    options: ImageOptions
    warnings: list[str]


class AcceptedCall(NamedTuple):
    """A call whose job is accepted: how it is to be answered, and nothing of its body."""

    options: ImageOptions
    warnings: list[str]
    spec: JobSpec


#: Fields of a job that a call may have besides, under their own names.
EXTENSIONS = frozenset(JobRequest.model_fields) - {"image", *_RENAMED, *ImageOptions.model_fields}


def translate(given: Mapping[str, Any], images: Mapping[str, str], names: ModelNames) -> ImageCall:
    """The call with these fields, and ``images`` in base64: ``image`` and ``mask_image`` of an edit.

    Raises pydantic's `ValidationError`, and `InvalidRequest` for a field that nothing here can do.
    """
    given = {name: value for name, value in given.items() if value is not None}
    warnings = []
    for name, value in given.items():
        _check_name(name, value)
        if name in IGNORED and value not in _NOTHING:
            warnings.append(f"{name} is ignored")
    own = {name: value for name, value in given.items() if name in ImageOptions.model_fields}
    options = ImageOptions.model_validate(own)
    if options.output_compression is not None and options.output_format == PNG:
        warnings.append("output_compression is ignored: a PNG loses nothing")
    model, warning = names.find(options.model)
    warnings += [warning] if warning else []
    body = {name: value for name, value in given.items() if name in EXTENSIONS}
    body |= {"model": model, "output_format": options.output_format, **options.sides, **options.quality}
    if "seeds" not in body:
        body["num_images"] = options.n
    submission = Submission.model_validate({**body, **images})
    _check_number(options, submission)
    return ImageCall(submission, options, warnings)


def _check_number(options: ImageOptions, submission: Submission) -> None:
    """Raise `InvalidRequest` for more than one image in a stream, and for two numbers of images."""
    request = submission.root
    seeds = request.seeds if isinstance(request, JobRequest) else None
    if seeds is not None and options.n > 1:
        raise InvalidRequest("seeds say it all: leave n out", field="n")
    if options.stream and options.n > 1:
        raise InvalidRequest("a stream has one image: n must be 1", field="n")
    if options.stream and seeds is not None and len(seeds) > 1:
        raise InvalidRequest("a stream has one image: there must be one of them", field="seeds")


def _check_name(name: str, value: Any) -> None:
    """Raise `InvalidRequest` for a field that would have to change the image, and for unknown ones."""
    if name in _RENAMED:
        raise InvalidRequest(f"{name} is {_RENAMED[name]} here", field=name)
    if name in _REFUSED:
        raise InvalidRequest(f"{name} is not supported", field=name)
    if name == "background" and value == "transparent":
        raise InvalidRequest("transparent backgrounds are not supported", field=name)
    if name not in {*ImageOptions.model_fields, *EXTENSIONS, *IGNORED}:
        hint = did_you_mean(name[:100], [*ImageOptions.model_fields, *EXTENSIONS])
        raise InvalidRequest(f"unknown field{hint}", field=name[:100])
