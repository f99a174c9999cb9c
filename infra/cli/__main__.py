"""``swiftdiffusion``: use a fleet from a shell.

Exit codes: 0 equal or done, 1 different or failed, 2 the command line or a setting is wrong.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import cast

import click
from click.shell_completion import CompletionItem
from click_didyoumean import DYMGroup

from infra.cli.completion import PROGRAM
from shared.errors import InvalidSetting, SwiftError
from shared.settings import read_settings

#: What each command does in a line; ``infra.cli.NAME.command`` is the command itself, or that of `MODULES`.
COMMANDS = {
    "generate": "generate images from a prompt",
    "watch": "show the progress of jobs",
    "verify": "generate an image again from its receipt and compare the two",
    "receipt": "print the receipt that an image carries",
    "usage": "show what was used on each day",
    "keys": "make, list, rotate and revoke API keys",
    "tenants": "create, list, change and delete tenants",
    "webhooks": "create, list and delete webhooks, and see what was sent to them",
    "cache": "list, check and remove the LoRA files of this host",
    "completion": "print the completion script of a shell",
}
#: Modules that lie elsewhere.
MODULES = {
    "generate": "generation.generate",
    "usage": "monitoring.usage",
    "watch": "monitoring.watch",
}
INSTALL = "pip install -c infra/constraints.txt -e '.[cli]'"


class Commands(DYMGroup):
    """The top-level group; it imports only the command that is asked for, with what that one needs."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Every command, the most used first."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of that name, or None."""
        if name not in COMMANDS:
            return None
        return cast(click.Command, import_module(f"infra.cli.{MODULES.get(name, name)}").command)

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands and options that begin so, without loading the commands."""
        options = click.Command.shell_complete(self, context, incomplete)
        commands = [CompletionItem(name, help=text) for name, text in COMMANDS.items()]
        return [*(item for item in commands if item.value.startswith(incomplete)), *options]

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="swiftdiffusion")
@click.pass_context
def swiftdiffusion(context: click.Context) -> None:
    """Generate images on a fleet, check them, manage who may use it and a host's LoRA files."""
    context.obj = read_settings()


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; returns the exit code."""
    try:
        return int(swiftdiffusion.main(words, prog_name=PROGRAM, standalone_mode=False) or 0)
    except click.UsageError as error:
        error.show()
        return 2
    except click.Abort:
        return _complain("interrupted", 130)
    except InvalidSetting as error:
        return _complain(str(error), 2)
    except click.ClickException as error:
        return _complain(error.format_message(), error.exit_code)
    except SwiftError as error:
        return _complain(f"{error.code}: {error}", 1)
    except ModuleNotFoundError as error:
        return _complain(f"Python package {error.name} is missing: {INSTALL}", 1)
    except OSError as error:  # of a file, or of standard output
        return _complain(f"{error.filename or 'output'}: {error.strerror or error}", 1)


def _complain(detail: str, exit_code: int) -> int:
    print(f"swiftdiffusion: {detail}", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
