"""The command line."""

import pytest

from infra.bench.__main__ import PARTS, main


def test_an_unknown_part_is_named_beside_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--quick", "api", "warp"])
    assert ended.value.code == 2
    assert f"unknown: warp; parts are {', '.join(PARTS)}, or report alone" in capsys.readouterr().err
