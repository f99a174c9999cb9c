"""Who holds a state folder, and `make clean`."""

import os
import subprocess
from pathlib import Path

from infra.local.home_lock import find_holder, hold
from shared.settings import ROOT


def test_the_holder_is_found_by_its_pid(tmp_path: Path) -> None:
    with hold(tmp_path):
        assert find_holder(tmp_path) == os.getpid()
    assert find_holder(tmp_path) is None


def test_a_folder_that_is_not_there_is_held_by_nobody(tmp_path: Path) -> None:
    assert find_holder(tmp_path / "absent") is None


def test_make_clean_removes_nothing_while_a_fleet_runs(tmp_path: Path) -> None:
    # Given a checkout with a fleet in its state folder
    for name in ("Makefile", "infra"):
        (tmp_path / name).symlink_to(ROOT / name)
    home = tmp_path / ".run"
    home.mkdir()
    with hold(home):
        ended = make_clean(tmp_path)
    # Then it refuses in one sentence, until the fleet has stopped
    assert ended.returncode != 0
    assert "a fleet is running in .run: stop it first, with `make down` or Ctrl-C" in ended.stderr
    assert home.exists()
    assert make_clean(tmp_path).returncode == 0
    assert not home.exists()


def make_clean(folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(["make", "clean"], cwd=folder, env=environment, capture_output=True, text=True)
