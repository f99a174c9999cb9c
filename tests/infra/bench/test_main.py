"""The command line."""

import subprocess
import sys

import pytest

from infra.bench.__main__ import PARTS, main

PROGRAM = """
import sys
sys.modules['diffusers'] = None
from infra.bench.__main__ import main
sys.exit(main(['--quick', 'share']))
"""


def test_an_unknown_part_is_named_beside_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--quick", "api", "warp"])
    assert ended.value.code == 2
    assert f"unknown: warp; parts are {', '.join(PARTS)}, or report alone" in capsys.readouterr().err


def test_a_part_that_lacks_a_package_names_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert done.stderr.startswith("share: diffusers is not installed"), done.stderr
