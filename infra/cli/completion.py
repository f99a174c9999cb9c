"""``swiftdiffusion completion SHELL``: the script by which a shell completes commands and options."""

import click
from click.shell_completion import get_completion_class

PROGRAM = "swiftdiffusion"
#: Set by the script when the shell asks for completions; click derives it from the program's name.
VARIABLE = "_SWIFTDIFFUSION_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
      eval "$(swiftdiffusion completion bash)"
      eval "$(swiftdiffusion completion zsh)"
      swiftdiffusion completion fish | source
    """
    completion = get_completion_class(shell)
    assert completion is not None
    click.echo(completion(context.find_root().command, {}, PROGRAM, VARIABLE).source())
