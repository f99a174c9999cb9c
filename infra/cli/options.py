"""Arguments and options that several commands share."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from infra.cli.client import ApiError, Client
from infra.local.environment import read_env_file
from shared.settings import Settings

Function = TypeVar("Function", bound=Callable[..., Any])


class OutputFile(click.Path):
    """A path whose folder exists: checked before anything is generated."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path; fails with a usage error."""
        path = Path(str(super().convert(value, param, ctx)))
        if not path.name:
            self.fail(f"{value!r} names no file", param, ctx)
        if not path.parent.is_dir():
            self.fail(f"there is no folder {str(path.parent)!r}", param, ctx)
        return path


#: A file that can be read.
INPUT_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


def image_argument(function: Function) -> Function:
    """The image a command is about."""
    return click.argument("image", type=INPUT_FILE, metavar="IMAGE")(function)


def api_option(function: Function) -> Function:
    """Where the fleet is."""
    text = (
        "Address of the API. Default: the fleet that `make up` has started in this folder. "
        "SWIFT_API_KEY or SWIFT_API_KEY_FILE give the API key."
    )
    return click.option("--api", metavar="URL", help=text)(function)


@contextmanager
def connected(api: str | None, settings: Settings) -> Iterator[Client]:
    """The client for ``--api``, or for the local fleet; its errors end the command.

    Where settings are silent, address and API key are those that the local fleet wrote into its ``env`` file;
    its key is sent nowhere else.
    Who ends the process or closes its terminal interrupts it, as Ctrl-C does: the job is cancelled.
    """
    url, key = api or settings.api_url, settings.api_key
    if api is None and not {"api_port", "api_host"} & settings.model_fields_set:
        local = read_env_file(settings.home / "env")
        url = local.get("API_URL", url)
        if key is None and "SWIFT_API_KEY_FILE" in local:
            key = Path(local["SWIFT_API_KEY_FILE"]).read_text().strip()
    with _interrupted_by(signal.SIGTERM, signal.SIGHUP):
        try:
            yield Client(url, key)
        except ApiError as error:
            raise click.ClickException(str(error)) from None


@contextmanager
def _interrupted_by(*signals: signal.Signals) -> Iterator[None]:
    """These signals raise `KeyboardInterrupt`, unless they are ignored, as by ``nohup``."""
    changed = [number for number in signals if signal.getsignal(number) is signal.SIG_DFL]
    for number in changed:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)
