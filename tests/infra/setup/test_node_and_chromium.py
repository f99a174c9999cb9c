"""The script that installs Node's packages and Chromium for tests, over programs that note their calls."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from shared.settings import ROOT

SCRIPT = Path("infra/setup/node_and_chromium.sh")
#: What the script may find besides the programs of a test.
TOOLS = ("bash", "env", "dirname", "sed", "timeout", "touch", "rm", "mkdir")


class Checkout:
    """A copy of the script with one folder of packages, and a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._bin = folder, folder / "bin"
        self._bin.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found
            (self._bin / tool).symlink_to(found)
        (folder / SCRIPT).parent.mkdir(parents=True)
        shutil.copy(ROOT / SCRIPT, folder / SCRIPT)
        self.packages = folder / "tests" / "node"
        for packages in (self.packages, folder / "api" / "console"):
            packages.mkdir(parents=True)
            for name in ("package.json", "package-lock.json"):
                (packages / name).write_text("{}")
        self.add("id", "echo 1000")

    def add(self, program: str, script: str) -> None:
        path = self._bin / program
        path.write_text(f'#!/usr/bin/env bash\necho "{program} $*" >> "{self._folder}/calls"\n{script}\n')
        path.chmod(0o755)

    def run(self) -> tuple[list[str], list[str]]:
        """Sentences on stderr, and the calls that install something."""
        calls = self._folder / "calls"
        calls.write_text("")
        ended = subprocess.run(
            [self._folder / SCRIPT],
            env={"PATH": str(self._bin), "HOME": os.environ.get("HOME", "/")},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        installs = [line for line in calls.read_text().splitlines() if " install " in line or " ci " in line]
        return ended.stderr.splitlines(), installs


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


NPM_CI = "npm ci --ignore-scripts --no-audit --no-fund --loglevel=error"


def test_packages_are_installed_once_and_again_when_their_lock_changes(checkout: Checkout) -> None:
    checkout.add("node", "echo v20.3.1")
    checkout.add("npm", "mkdir -p node_modules")
    checkout.add("chromium", "")
    assert checkout.run() == ([], [NPM_CI, NPM_CI])
    assert checkout.run() == ([], [])
    lock = checkout.packages / "package-lock.json"
    later = lock.stat().st_mtime + 60
    os.utime(lock, (later, later))
    assert checkout.run() == ([], [NPM_CI])


@pytest.mark.parametrize("version", ["", "echo v18.20.4"], ids=["none", "too old"])
def test_what_is_missing_is_said_in_a_line_each_and_is_no_failure(version: str, checkout: Checkout) -> None:
    if version:
        checkout.add("node", version)
        checkout.add("npm", "exit 1")
    told, installs = checkout.run()
    assert told == [
        "Tests are skipped for want of Node 20 or newer with npm (https://nodejs.org).",
        "Tests are skipped for want of Chromium.",
    ]
    assert installs == []


def test_root_on_debian_gets_what_suffices_from_apt(checkout: Checkout) -> None:
    checkout.add("id", "echo 0")
    checkout.add(
        "apt-cache", '[ "$2" = chromium ] && echo "  Candidate: 150.0-1" || echo "  Candidate: 18.20-1"'
    )
    checkout.add("apt-get", "")
    told, installs = checkout.run()
    assert told == ["Tests are skipped for want of Node 20 or newer with npm (https://nodejs.org)."]
    assert installs == ["apt-get install --yes --quiet --no-install-recommends chromium"]


def test_a_registry_that_does_not_answer_is_said_and_asked_again(checkout: Checkout) -> None:
    checkout.add("node", "echo v22.1.0")
    checkout.add("npm", "exit 1")
    checkout.add("chromium", "")
    told, _ = checkout.run()
    assert told == [
        f"Tests are skipped for want of what {folder}/package-lock.json names, as npm ci has failed."
        for folder in ("tests/node", "api/console")
    ]
    assert checkout.run()[1] == [NPM_CI, NPM_CI]
