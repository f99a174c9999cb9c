"""What is committed of the console is what its sources give."""

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest

from api.console.routes import STATIC, TYPES

CONSOLE = STATIC.parent
ADVICE = "run: make console"
FIRST_LOAD_BYTES = 60_000


def test_the_first_load_of_the_page_is_small() -> None:
    first = ("index.html", "console.js", "console.css")  # chart.js is read when a chart is shown
    assert sum(len(gzip.compress((STATIC / name).read_bytes(), 9)) for name in first) <= FIRST_LOAD_BYTES


def test_the_committed_bundle_is_what_the_sources_give(tmp_path: Path) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Node and npm are missing: apt-get install nodejs npm")
    if not (CONSOLE / "node_modules" / "esbuild").is_dir():
        install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run(install, cwd=CONSOLE, check=True, timeout=120)
    subprocess.run([node, "build.js", str(tmp_path)], cwd=CONSOLE, check=True, timeout=60)
    for name in TYPES:
        assert (tmp_path / name).read_bytes() == (STATIC / name).read_bytes(), f"{name}: {ADVICE}"
    assert {path.name for path in STATIC.iterdir()} == set(TYPES)
