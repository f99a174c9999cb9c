"""Options of ``generate`` about ControlNets and LoRAs: pairs of a name and a value."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from infra.cli.client import encode_image
from infra.cli.options import INPUT_FILE

Function = TypeVar("Function", bound=Callable[..., Any])
Pairs = Sequence[tuple[str, Any]]
#: In place of a default: there must be a value.
REQUIRED = object()


class Pair(click.ParamType[tuple[str, Any]]):
    """``NAME=VALUE``; without ``=VALUE`` the value is ``default``, where there is one."""

    def __init__(self, value_type: click.ParamType[Any], name: str, default: Any = REQUIRED) -> None:
        self.name = name
        self._value_type = value_type
        self._default = default

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        """The pair; fails with a usage error."""
        name, equals, text = str(value).partition("=")
        if not name or (not equals and self._default is REQUIRED):
            self.fail(f"{value!r} is not {self.name}", param, ctx)
        return name, self._value_type.convert(text, param, ctx) if equals else self._default


LORA = Pair(click.FLOAT, "NAME[=SCALE]", 1.0)
#: Without a file, ``None``: of a ControlNet that inpaints, which is shown the job's image.
CONTROL = Pair(INPUT_FILE, "NAME[=FILE]", None)
#: Of a ControlNet that ``--control`` names: the field of the job, by option, and what it is.
OF_CONTROLNETS: Mapping[str, tuple[str, Pair, str]] = {
    "--control-scale": (
        "conditioning_scale",
        Pair(click.FLOAT, "NAME=SCALE"),
        "The strength of a ControlNet; else that of its model's family, of most 1.",
    ),
    "--control-mode": (
        "control_mode",
        Pair(click.INT, "NAME=MODE"),
        "Which of the kinds of control of a ControlNet-Union its image is.",
    ),
    "--preprocessor": (
        "preprocessor",
        Pair(click.STRING, "NAME=PREPROCESSOR"),
        "What makes the ControlNet's input from its image, for example canny; else the image itself.",
    ),
}


def controlnet_options(function: Function) -> Function:
    """``--lora``, ``--control``, and the options of `OF_CONTROLNETS`."""
    for flag, (field, pair, text) in reversed(list(OF_CONTROLNETS.items())):
        function = click.option(flag, field, type=pair, multiple=True, metavar=pair.name, help=text)(function)
    text = "A ControlNet and its image; without one, a ControlNet that inpaints --image. Repeatable."
    function = click.option(
        "--control", "controls", type=CONTROL, multiple=True, metavar=CONTROL.name, help=text
    )(function)
    text = "A LoRA. Repeatable."
    return click.option("--lora", "loras", type=LORA, multiple=True, metavar=LORA.name, help=text)(function)


def read_controlnets(
    controls: Sequence[tuple[str, Path | None]], given: Mapping[str, Pairs]
) -> list[dict[str, Any]]:
    """The ControlNets of a request; ``given``: what is said of them, by field. Raises `click.UsageError`."""
    named = {name for name, _ in controls}
    unknown = sorted({name for pairs in given.values() for name, _ in pairs} - named)
    if unknown:
        raise click.UsageError(f"no --control names {', '.join(unknown)}")
    values = {field: dict(pairs) for field, pairs in given.items()}
    return [
        {
            "name": name,
            **({} if path is None else {"image": encode_image(path)}),
            **{field: value[name] for field, value in values.items() if name in value},
        }
        for name, path in controls
    ]
