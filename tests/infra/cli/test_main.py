import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.cli.__main__ import COMMANDS, main
from tests.infra.cli.test_receipt import generated


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert COMMANDS[command].split(",")[0].lower() in capsys.readouterr().out.replace("\n", " ").lower()


def test_the_commands_are_listed_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(any(line.split()[:1] == [name] for line in lines) for name in COMMANDS)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("words", "detail"),
    [
        (["paint"], "No such command 'paint'"),
        (["generat", "a cat"], "generate"),
        (["receipt"], "Missing argument 'IMAGE'"),
        (["verify", "gone.png"], "'gone.png' does not exist"),
        (["verify", __file__, "--out", "/gone/a.png"], "there is no folder '/gone'"),
    ],
)
def test_a_wrong_command_line_is_explained_and_exits_with_2(
    words: list[str], detail: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert detail in capsys.readouterr().err


def test_a_wrong_setting_is_named_and_exits_with_2() -> None:
    code = "import sys; from infra.cli.__main__ import main; sys.exit(main(['receipt', sys.executable]))"
    ended = subprocess.run(
        [sys.executable, "-c", code], env={"SWIFT_API_PORT": "eighty"}, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert "SWIFT_API_PORT" in ended.stderr


def test_a_reader_that_stops_early_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "apple.png"
    path.write_bytes(generated(request="{}", receipt=json.dumps({"words": ["long"] * 100_000})))
    ended = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m infra.cli receipt {path} | head -1"],
        capture_output=True,
        text=True,
    )
    assert ended.stdout == "{\n"
    assert ended.stderr == ""
