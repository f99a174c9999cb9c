import subprocess
import sys
from pathlib import Path

import pytest

from infra.cli.__main__ import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_table_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert COMMANDS[command].lower() in capsys.readouterr().out.replace("\n", " ").lower()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "required: COMMAND"),
        (["draw"], "invalid choice: 'draw'"),
        (["receipt"], "required: IMAGE.png"),
        (["verify", "gone.png"], "there is no file 'gone.png'"),
        (["verify", __file__, "--out", "/gone/a.png"], "there is no folder '/gone'"),
    ],
)
def test_a_wrong_command_line_is_told_and_exits_with_2(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_wrong_setting_is_named_and_exits_with_2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = "import sys; from infra.cli.__main__ import main; sys.exit(main(['receipt', sys.executable]))"
    ended = subprocess.run(
        [sys.executable, "-c", code], env={"SWIFT_API_PORT": "eighty"}, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert "SWIFT_API_PORT" in ended.stderr
