"""Shell completion, as a shell asks for it: by variables of the environment."""

import pytest
from click.testing import CliRunner

from infra.cli.__main__ import COMMANDS, swiftdiffusion
from infra.cli.completion import PROGRAM, VARIABLE


def complete(line: str) -> list[str]:
    """What bash is offered for the last word of a command line."""
    words = line.split(" ")
    env = {VARIABLE: "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    result = CliRunner().invoke(swiftdiffusion, [], prog_name=PROGRAM, env=env)
    return [answer.partition(",")[2] for answer in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("swiftdiffusion ", list(COMMANDS)),
        ("swiftdiffusion ver", ["verify"]),
        ("swiftdiffusion cache ", ["ls", "rm", "verify"]),
        ("swiftdiffusion generate --lora-l", ["--lora-loading"]),
        ("swiftdiffusion generate --lora-loading ", ["bounded", "exact"]),
        ("swiftdiffusion generate --scheduler ddi", ["ddim"]),
    ],
)
def test_commands_options_and_values_are_completed(line: str, words: list[str]) -> None:
    assert complete(line) == words


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_every_shell_asks_this_program(shell: str) -> None:
    result = CliRunner().invoke(swiftdiffusion, ["completion", shell], prog_name=PROGRAM)
    assert result.exit_code == 0, result.output
    assert f"{VARIABLE}={shell}_complete" in result.stdout
