"""Runs scripts of ``tests/node``: clients of others for Node, unmodified, asked as their users would."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "node"
#: What `make test-programs` leaves once all packages are there.
INSTALLED = FOLDER / "node_modules" / "installed"
#: Why tests are skipped.
MISSING = "Node or the packages of tests/node are missing: run make test-programs"


class NodeScripts:
    """The scripts of one folder, each an ES module that prints one value as JSON."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    def run(self, name: str, *args: str, timeout_s: float = 120, **environ: str) -> Any:
        """What the script prints; fails with what it writes to stderr."""
        loopback = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
        ended = subprocess.run(
            ["node", name, *args],
            cwd=self._folder,
            env={**os.environ, **loopback, **environ},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert ended.returncode == 0, f"{name}: {ended.stdout}{ended.stderr}"
        return json.loads(ended.stdout)


def are_installed() -> bool:
    """Whether `NodeScripts` can run."""
    return shutil.which("node") is not None and INSTALLED.exists()
