"""Nothing that a client sends is without a bound: found by walking the models, so that new fields count."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from api.schemas.job_request import JobRequest
from api.schemas.submission import Submission
from shared.catalog.preprocessors import PREPROCESSORS
from shared.jobs.options import OptionValue, check_option_value
from shared.jobs.receipt import Receipt
from shared.message_base import JsonObject, check_json

#: Values without a schema are bounded by these functions.
CHECKS = (check_json, check_option_value)


def unbounded(schema: dict[str, Any], definitions: dict[str, Any], place: str) -> Iterator[str]:
    """The places within a core schema of pydantic where something endless would be accepted."""
    kind = schema["type"]
    if kind == "definitions":
        definitions = definitions | {one["ref"]: one for one in schema["definitions"]}
    if kind == "definition-ref":
        schema = definitions[schema["schema_ref"]]
        kind = schema["type"]
    if schema.get("function", {}).get("function") in CHECKS:
        return
    if kind == "any" or (kind in ("list", "dict", "str", "int", "float") and not is_bounded(schema)):
        yield f"{place}: {kind}"
    for name, inner in inner_schemas(schema):
        yield from unbounded(inner, definitions, f"{place}.{name}" if name else place)


def is_bounded(schema: dict[str, Any]) -> bool:
    if schema["type"] in ("list", "dict", "str"):
        return schema.get("max_length") is not None
    sides = (("ge", "gt"), ("le", "lt"))
    return all(any(schema.get(name) is not None for name in names) for names in sides)


def inner_schemas(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if schema["type"] == "model-fields":
        yield from ((name, field["schema"]) for name, field in schema["fields"].items())
    for key in ("schema", "items_schema", "keys_schema", "values_schema"):
        inner = schema.get(key)
        if isinstance(inner, dict):
            yield "", inner
        elif isinstance(inner, list):
            yield from (("", one) for one in inner)
    choices = schema.get("choices", [])
    for choice in choices.values() if isinstance(choices, dict) else choices:
        yield "", choice[0] if isinstance(choice, tuple) else choice


def found(kind: Any) -> list[str]:
    return sorted(set(unbounded(dict(TypeAdapter(kind).core_schema), {}, "")))


@pytest.mark.parametrize("model", [Submission, JobRequest, Receipt, *PREPROCESSORS.values()])
def test_every_value_of_a_request_is_bounded(model: type[BaseModel]) -> None:
    assert found(model) == []


class Endless(BaseModel):
    text: str
    names: list[Literal["a"]]
    scales: dict[Annotated[str, Field(max_length=3)], Annotated[list[int], Field(max_length=2)]]
    number: float = Field(ge=0)
    config: dict[str, Any] | None
    bounded: JsonObject
    option: OptionValue


def test_the_walk_finds_what_is_endless() -> None:
    assert found(Endless) == [
        ".config: any",
        ".config: dict",
        ".config: str",
        ".names: list",
        ".number: float",
        ".scales: dict",
        ".scales: int",
        ".text: str",
    ]


@pytest.mark.parametrize(
    "value",
    [
        {"betas": [0.1] * 20_001},
        {"text": "x" * 20_001},
        {"x" * 20_001: 1},
        {"number": 10**70_000},
        {"a": [{"b": [{"c": [{"d": [{}]}]}]}]},
    ],
    ids=["values", "characters", "a key", "digits", "levels"],
)
def test_json_without_a_schema_is_bounded(value: Any) -> None:
    with pytest.raises(ValidationError, match=r"more than \d+"):
        TypeAdapter(JsonObject).validate_python(value)


def test_the_config_of_a_scheduler_fits() -> None:
    config = {"trained_betas": [i / 1000 for i in range(1000)], "_use_default_values": ["a" * 30] * 20}
    assert TypeAdapter(JsonObject).validate_python(config) == config
