"""Options of ``generate`` that only some model families take: one for each field of `FamilyOptions`."""

from collections.abc import Callable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import click

from shared.jobs.families.options import UNET_FIELDS, FamilyOptions
from shared.jobs.options import JobOptions

Function = TypeVar("Function", bound=Callable[..., Any])

#: Every field of a job that not every family takes.
FIELDS = {name: JobOptions.model_fields[name] for name in (*FamilyOptions.model_fields, *UNET_FIELDS)}


def family_options(function: Function) -> Function:
    """The options, as the API names the fields: ``--true-cfg-scale`` and so on."""
    for name in reversed(FIELDS):
        function = _option(name)(function)
    return function


def _option(name: str) -> Callable[[Function], Function]:
    field = FIELDS[name]
    kind: Any = _plain(field.annotation)
    flag, says = f"--{name.replace('_', '-')}", f"{field.description or 'as in diffusers'}; of some models."
    text = says[0].upper() + says[1:]
    if kind is bool:
        return click.option(flag, is_flag=True, default=None, help=text)
    if get_origin(kind) is tuple:
        return click.option(flag, type=(int, int), metavar="HEIGHT WIDTH", help=text)
    if get_origin(kind) is Literal:
        return click.option(flag, type=click.Choice(get_args(kind)), help=text)
    return click.option(flag, type=kind, help=text)


def _plain(annotation: Any) -> Any:
    """The type of a field's values, without None and what limits them."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(arm for arm in get_args(annotation) if arm is not NoneType)
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
