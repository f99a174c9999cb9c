"""The base of everything that crosses a process, and the bounded types that requests are made of."""

import logging
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, ValidationError


def _differ(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] == ends[1]:
        raise ValueError("black and white are the same number")
    return ends


#: A finite number; JSON's NaN and Infinity are no scales.
Finite = Annotated[float, Field(allow_inf_nan=False)]
_Pixel = Annotated[Finite, Field(ge=-65536, le=65536)]
#: The numbers that stand for black and for white. JSON has lists, not tuples.
ValueRange = Annotated[tuple[_Pixel, _Pixel], Strict(False), AfterValidator(_differ)]
#: diffusers' seeds are those of torch's generator.
MAX_SEED = 2**63 - 1
#: No request may name more; what a fleet really takes, its settings say.
MAX_STEPS, MAX_SIDE_PX, MAX_IMAGES = 10_000, 1 << 16, 1_000
#: How much JSON without a schema may hold: values and characters together, and levels.
MAX_JSON_SIZE, MAX_JSON_DEPTH = 20_000, 8


log = logging.getLogger(__name__)

#: Context of validators: the value was stored by the fleet, perhaps by another version of it.
STORED = {"stored": True}

_Model = TypeVar("_Model", bound=BaseModel)


def read_stored(model: type[_Model], value: Any) -> _Model:
    """``value`` as the fleet has stored it: fields of a newer version are ignored; raises `ValueError`."""
    return model.model_validate(value, extra="ignore", context=STORED)


def read_stored_json(model: type[_Model], text: str | bytes) -> _Model:
    """JSON as `read_stored` reads it."""
    return model.model_validate_json(text, extra="ignore", context=STORED)


def first_reason(error: Exception) -> str:
    """Why a stored value cannot be read, in one line; of many reasons the first, and not the value itself."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"
    return str(error).partition("\n")[0]


def read_all(model: type[_Model], texts: Iterable[str | bytes | None]) -> list[_Model]:
    """Those of many stored values that can be read: one bad value hides no other."""
    found = []
    for text in texts:
        if text is not None:
            try:
                found.append(read_stored_json(model, text))
            except ValueError as error:
                log.warning(
                    "stored value skipped", extra={"kind": model.__name__, "error": first_reason(error)}
                )
    return found


class Message(BaseModel):
    """Immutable, and unknown fields are refused."""

    # An error's text is logged: it must not show what is wrong, which may be a prompt.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class StrictMessage(Message):
    """A message whose values have JSON's own types: neither ``true`` nor ``"7"`` nor ``7.0`` is 7.

    An integer is taken where a float is asked for: many languages write 3.0 as 3.
    """

    model_config = ConfigDict(strict=True)


def check_json(value: Any) -> Any:
    """JSON without a schema; raises `ValueError` when it is larger or deeper than a receipt needs."""
    left, level, depth = MAX_JSON_SIZE, [value], 0
    while level:
        depth += 1
        if depth > MAX_JSON_DEPTH:
            raise ValueError(f"it is nested more than {MAX_JSON_DEPTH} levels deep")
        inner: list[Any] = []
        for one in level:
            left -= 1 + _own_size(one)
            if left < 0:
                raise ValueError(f"it holds more than {MAX_JSON_SIZE} values and characters")
            if isinstance(one, dict):
                inner += [*one.keys(), *one.values()]
            elif isinstance(one, list | tuple):
                inner += one
        level = inner
    return value


def _own_size(value: Any) -> int:
    if isinstance(value, int):
        return value.bit_length() // 3  # about its digits
    return len(value) if isinstance(value, str | dict | list | tuple) else 0


#: A name, a version, a device.
ShortText = Annotated[str, Field(max_length=255)]
#: sha256 in hexadecimal digits; empty: of something that was not used.
Sha256 = Annotated[str, Field(max_length=64)]
Prompt = Annotated[str, Field(max_length=10_000)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
#: A step of a job: some schedulers walk twice num_inference_steps timesteps.
Step = Annotated[int, Field(ge=0, le=2 * MAX_STEPS)]
Fraction = Annotated[Finite, Field(ge=0, le=1)]
GuidanceScale = Annotated[Finite, Field(ge=0, le=100)]
ConditioningScale = Annotated[Finite, Field(ge=-10, le=10)]
StepCount = Annotated[int, Field(ge=1, le=MAX_STEPS)]
ImageCount = Annotated[int, Field(ge=1, le=MAX_IMAGES)]
SidePx = Annotated[int, Field(ge=8, le=MAX_SIDE_PX, multiple_of=8)]
#: JSON without a schema, of bounded size and depth.
JsonObject = Annotated[dict[str, Any], AfterValidator(check_json)]
Versions = Annotated[dict[ShortText, ShortText], Field(max_length=64)]
