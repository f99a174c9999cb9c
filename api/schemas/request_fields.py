"""Base of request schemas: aliases of fields are accepted, and unknown fields are refused with a suggestion.

Aliases are diffusers' names of the same things. Names of other programs are not accepted, since their meaning
may differ (A1111's ``batch_size``, ComfyUI's ``strength``): the error names the field that was meant.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import (
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

from shared.message_base import StrictMessage
from shared.validation_messages import did_you_mean, snake_case

#: Unknown fields that one response names, and characters of each.
NAMED_FIELDS, NAMED_CHARS = 20, 100


class RequestFields(StrictMessage):
    """A part of a request. ``null`` means that a field is left out."""

    #: Other names of fields, which are accepted.
    aliases: ClassVar[Mapping[str, str]] = {}
    #: Names that are not accepted, and what to write instead.
    meant: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="wrap")
    @classmethod
    def _by_own_names(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(given, dict):
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
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """pydantic's, with the aliases in the descriptions of their fields."""
        schema = handler(core)
        fields = handler.resolve_ref_schema(schema).get("properties", {})
        for alias, name in cls.aliases.items():
            parts = [fields[name].get("description"), f"also: {alias}"]
            fields[name]["description"] = "; ".join(filter(None, parts))
        return schema

    @classmethod
    def spread(cls, given: dict[str, Any]) -> list[InitErrorDetails]:
        """Replace, within ``given``, fields that stand for fields of several parts; returns errors."""
        return []


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
    meant = model.meant.get(snake_case(cut))
    hint = f"; did you mean {meant}?" if meant else did_you_mean(cut, model.model_fields)
    return field_error("unknown_field", f"unknown field{hint}", cut)
