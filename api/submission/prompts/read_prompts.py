"""Reads the prompts of a request by its ``prompt_syntax``: mistakes are refused, tags become LoRAs."""

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import ValidationError

from api.schemas.job_request import JobRequest, LoraRequest
from api.schemas.problems import sentence
from api.submission.prompts.lora_tags import LoraTag, take_out_tags
from api.submission.prompts.unsupported import refuse_composition, refuse_schedules
from shared.errors import InvalidRequest
from shared.jobs.options import MAX_LORAS
from shared.prompts.errors import PromptSyntaxError, errors_of
from shared.prompts.weights import parse_weights

_POSITIVE = ("prompt", "prompt_2", "prompt_3")
_FIELDS = (*_POSITIVE, "negative_prompt", "negative_prompt_2", "negative_prompt_3")


class ReadPrompts(NamedTuple):
    """A request without tags in its prompts: the LoRAs that they have named are among its ``loras``."""

    request: JobRequest
    #: Where each LoRA of the request is named.
    lora_fields: Sequence[str]


def read_prompts(request: JobRequest) -> ReadPrompts:
    """Read the prompts of a request; raises `InvalidRequest` for the field at fault."""
    fields = [f"loras.{i}.name" for i in range(len(request.loras))]
    if request.prompt_syntax == "plain":
        return ReadPrompts(request, fields)
    with errors_of("prompt"):
        prompt = take_out_tags(request.prompt)
        loras = _with_tags(request.loras, prompt.tags)
    with errors_of("prompt", prompt.position_in_prompt):
        _check_text(prompt.text)
        refuse_composition(prompt.text)
    for field in _FIELDS[1:]:
        text = getattr(request, field)
        if text is not None:
            with errors_of(field):
                _refuse_tags(text)
                _check_text(text)
                if field in _POSITIVE:
                    refuse_composition(text)
    if prompt.tags:
        request = request.model_copy(update={"prompt": prompt.text, "loras": loras})
    return ReadPrompts(request, [*fields, *["prompt"] * len(prompt.tags)])


def _check_text(text: str) -> None:
    refuse_schedules(text)
    parse_weights(text)


def _refuse_tags(text: str) -> None:
    for tag in take_out_tags(text).tags:
        raise PromptSyntaxError(f"LoRA {tag.name[:60]!r}: only the field prompt may name LoRAs", tag.position)


def _with_tags(loras: Sequence[LoraRequest], tags: Sequence[LoraTag]) -> list[LoraRequest]:
    """The LoRAs of a request, and behind them those of its tags."""
    count = len(loras) + len(tags)
    if count > MAX_LORAS:
        detail = f"the prompt and loras name {count} LoRAs, the limit is {MAX_LORAS}"
        raise InvalidRequest(detail, field="prompt")
    found = list(loras)
    for tag in tags:
        lora = _as_request(tag)
        if lora.name in {other.name for other in found}:
            raise PromptSyntaxError(f"LoRA {lora.name!r} is named twice", tag.position)
        found.append(lora)
    return found


def _as_request(tag: LoraTag) -> LoraRequest:
    try:
        return LoraRequest.model_validate({"name": tag.name, "scale": tag.weight})
    except ValidationError as error:
        first = error.errors()[0]
        detail = f"{first['loc'][0]} of a LoRA: {sentence(first['type'], first['msg'])}"
        raise PromptSyntaxError(detail, tag.position) from None
