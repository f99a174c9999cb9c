import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("api", "workers", "shared", "infra")
FILES = [path for package in PACKAGES for path in Path(package).rglob("*.py")]


def test_the_floors_hold() -> None:
    # In a process of its own: it disables the loggers of the one it runs in.
    program = Path(sys.executable).with_name("lint-imports")
    assert subprocess.run([program, "--no-cache"], check=False).returncode == 0


def test_packages_open_on_empty_files() -> None:
    assert [path for path in FILES if path.name == "__init__.py" and path.read_text()] == []


def test_no_function_is_longer_than_a_screen() -> None:
    functions = [
        (str(path), node.name, (node.end_lineno or 0) - node.lineno + 1)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    assert [told for told in functions if told[2] > 60] == []


def test_no_file_hides_the_celery_library() -> None:
    assert [path for path in FILES if path.name == "celery.py"] == []


def test_only_the_settings_read_the_environment() -> None:
    readers = [
        str(path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) in ("os.environ", "os.getenv")  # a WSGI request has an environ, too
    ]
    # The local stack hands its own environment on to the processes it starts.
    assert set(readers) <= {"shared/settings.py", "infra/local/environment.py"}


def test_no_key_space_is_scanned() -> None:
    # A scan takes as long as there are keys, whoever's they are. The sweep reads one bounded part a turn.
    scans = {"scan", "scan_iter", "randomkey"}
    guilty = [
        f"{path}: {node.attr}"
        for path in FILES
        if path.parts[0] != "infra"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in scans
    ]
    scripts = [path for package in PACKAGES for path in Path(package).rglob("*.lua")]
    guilty += [str(path) for path in scripts if re.search(r"call\('(SCAN|KEYS)'", path.read_text(), re.I)]
    assert guilty == ["workers/unet/maintenance/sweep.py: scan"]


def test_nothing_is_pickled() -> None:
    names = ("pickle", "dill", "cloudpickle", "shelve", "marshal")
    guilty = [
        path
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) and any(alias.name in names for alias in node.names)
    ]
    assert guilty == []


@pytest.mark.parametrize(
    "module", ["api.wsgi", "shared.jobs.store", "shared.storage.object_store", "shared.messaging.celery_app"]
)
def test_the_web_and_the_ground_do_not_load_torch(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'numpy', 'diffusers'}} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
