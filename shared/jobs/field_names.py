"""Fields by the names that other programs give them: aliases are taken, near misses are named.

Aliases are diffusers' names of the same things. What other programs call a field is not taken, since its
meaning may differ (A1111's ``batch_size``, ComfyUI's ``strength``): the error names the field that was meant.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, ClassVar, Self

from pydantic import ModelWrapValidatorHandler, ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from shared.messaging.base_model import StrictMessage

#: Unknown fields that are named in one answer, and characters of each.
NAMED_FIELDS, NAMED_CHARS = 20, 100


class RequestFields(StrictMessage):
    """A part of a request. ``null`` is what is left out; unknown fields say which one was meant."""

    #: Other names of fields, which are accepted.
    aliases: ClassVar[Mapping[str, str]] = {}
    #: Names that are not accepted, and what to write instead.
    meant: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="wrap")
    @classmethod
    def _by_own_names(
        cls, given: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        # What is stored is read with a context, by its own names and with fields of a newer version.
        if not isinstance(given, dict) or info.context is not None:
            return handler(given)
        given = dict(given)
        errors = cls.spread(given) + _rename(cls, given)
        if not errors:
            return handler(given)
        try:
            handler(given)
        except ValidationError as error:
            errors += [field_error(one["type"], one["msg"], *one["loc"]) for one in error.errors()]
        raise ValidationError.from_exception_data(cls.__name__, errors)

    @classmethod
    def spread(cls, given: dict[str, Any]) -> list[InitErrorDetails]:
        """Move, within ``given``, fields that stand for those of several parts; returns errors."""
        return []


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known name that is most like ``name``, as the end of a sentence; empty if none is like it."""
    close = get_close_matches(_plain(name[:NAMED_CHARS]), list(known), n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""


def field_error(kind: str, detail: str, *place: int | str) -> InitErrorDetails:
    """An error of the field at ``place``."""
    return InitErrorDetails(type=PydanticCustomError(kind, detail), loc=place, input=None)


def _rename(model: type[RequestFields], given: dict[str, Any]) -> list[InitErrorDetails]:
    """Leave in ``given`` the fields of ``model`` under their own names; returns errors of the other names."""
    fields, refused = model.model_fields, []
    for name, value in list(given.items()):
        field = model.aliases.get(name, name)
        if field not in fields:
            refused.append(name)
        elif value is None and not fields[field].is_required():
            del given[name]
        elif field != name and given.get(field) is not None:
            refused.append(name)
        elif field != name:
            given[field] = given.pop(name)
    for name in refused:
        del given[name]
    return [_explain(model, name) for name in refused[:NAMED_FIELDS]]


def _explain(model: type[RequestFields], name: str) -> InitErrorDetails:
    if name in model.aliases:
        detail = f"{name} is another name of {model.aliases[name]}: give one of them"
        return field_error("named_twice", detail, name)
    cut = name[:NAMED_CHARS]
    meant = model.meant.get(_plain(cut))
    hint = f"; did you mean {meant}?" if meant else did_you_mean(cut, model.model_fields)
    return field_error("unknown_field", f"unknown field{hint}", cut)


def _plain(name: str) -> str:
    """``CfgScale``, ``cfg-scale`` and ``cfgScale`` as ``cfg_scale``."""
    return re.sub(r"[^0-9A-Za-z]+|(?<=[a-z0-9])(?=[A-Z])", "_", name).strip("_").lower()
