"""What an installation holds that is not a checkout, and what it is installed from."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infra.lock import CONSTRAINTS, LOCK, OWN_STEP, pins
from shared.settings import ROOT

BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
#: Reads what the defaults name, from the files of the installation alone.
READ = """
from workers.model_checks.source import check_controlnet_entry, check_model_entry
from shared.catalog.catalog import read_catalog
from shared.lua_script import read_lua
from shared.settings import read_settings
settings = read_settings({})
catalog = read_catalog(settings.catalog, settings)
for name, entry in catalog.models.items():
    check_model_entry(name, entry, settings.catalog)
for name, entry in catalog.controlnets.items():
    check_controlnet_entry(name, entry, settings.catalog)
assert read_lua("workers.transport", "claim")
print(settings.catalog)
"""

#: Everything at the top of the repository.
TOP = {
    *(".ci", ".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md", "LICENSE", "Makefile", "README.md"),
    *("api", "infra", "pyproject.toml", "shared", "tests", "workers"),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a wheel, unpacked as an installation would."""
    folder = tmp_path_factory.mktemp("packaging")
    source, site = folder / "source", folder / "site"
    made = ("build", "*.egg-info", "__pycache__", "node_modules", "results")
    left_out = shutil.ignore_patterns(".*", "tests", *made)
    shutil.copytree(ROOT, source, ignore=left_out)
    subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)], cwd=source, check=True, capture_output=True, timeout=120
    )
    [wheel] = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    return site


def test_an_installation_has_the_default_catalog_and_all_that_it_names(
    installed: Path, tmp_path: Path
) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SWIFT_")}
    told = subprocess.run(
        [sys.executable, "-P", "-c", READ],
        cwd=tmp_path,
        env={**environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert told.returncode == 0, told.stderr
    assert Path(told.stdout.strip()) == installed / "infra" / "catalog.toml"


def is_source_of_the_console(path: Path) -> bool:
    """What its bundle is built from, which is all that an installation has."""
    console = ROOT / "api" / "console"
    return path.is_relative_to(console) and not path.is_relative_to(console / "static")


def test_every_script_of_a_package_is_installed_with_it(installed: Path) -> None:
    scripts = {
        path.relative_to(ROOT)
        for package in ("api", "shared", "workers")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and not is_source_of_the_console(path)
    }
    assert scripts
    assert {script for script in scripts if not (installed / script).is_file()} == set()


def test_the_lock_holds_every_version_of_the_constraints_and_no_other() -> None:
    expected = dict(pins(CONSTRAINTS.read_text()))
    del expected[OWN_STEP]
    assert pins(LOCK.read_text()) == expected, "run: make lock"


def test_everything_in_the_lock_has_hashes() -> None:
    [remark, *packages] = re.split(r"^(?=[A-Za-z0-9])", LOCK.read_text(), flags=re.MULTILINE)
    assert remark.startswith("#")
    assert len(packages) > 100
    without = [package for package in packages if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", package)]
    assert without == []


def test_no_file_was_left_at_the_top_of_the_repository() -> None:
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {path.partition("/")[0] for path in listed.splitlines()} <= TOP
