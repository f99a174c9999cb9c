"""``swiftdiffusion``: what people do with a fleet from a shell.

Exit codes: 0 equal or done, 1 different or failed, 2 the command line or a setting is wrong.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from shared.errors import InvalidSetting, SwiftError
from shared.settings import Settings, read_settings

#: Each is a module of this package, and what it does in a line.
COMMANDS = {
    "cache": "look after the LoRA files of this host",
    "receipt": "print the receipt a picture carries",
    "verify": "draw a picture's receipt again, and say whether it is the same",
}
INSTALL = "pip install -c infra/constraints.txt -e '.[cli]'"


class Command(Protocol):
    """A module of this package that is a subcommand."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Say what the command takes."""

    def run(self, options: argparse.Namespace, settings: Settings) -> int:
        """Do it; returns the exit code, or raises `SwiftError` with the reason."""


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; returns the exit code."""
    words = sys.argv[1:] if words is None else words
    try:
        settings = read_settings()
        options = _parser(words).parse_args(words)
        return _command(options.command).run(options, settings)
    except InvalidSetting as error:
        return _complain(str(error), 2)
    except SwiftError as error:
        return _complain(f"{error.code}: {error}", 1)
    except ModuleNotFoundError as error:
        return _complain(f"Python package {error.name} is missing: {INSTALL}", 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Only the command that is asked for is loaded: none needs what another needs."""
    parser = argparse.ArgumentParser(prog="swiftdiffusion", description="Talk to a fleet, look after a host.")
    chosen = next((word for word in words if not word.startswith("-")), None)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what[:1].upper() + what[1:] + ".")
        if name == chosen:
            _command(name).add_arguments(command)
    return parser


def _command(name: str) -> Command:
    return cast(Command, import_module(f"infra.cli.{name}"))


def _complain(what: str, exit_code: int) -> int:
    print(f"swiftdiffusion: {what}", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
