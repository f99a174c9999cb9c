"""``make lock``: write ``infra/requirements.lock`` from ``pyproject.toml`` and ``infra/constraints.txt``.

The lock holds the hash of every file of every package that the fleet and its tests need, but for torch:
which of torch's builds is right depends on the machine, and they lie at different places. Hashes that the
lock has already are kept, so only what is new takes time.
"""

import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK, CONSTRAINTS = ROOT / "infra" / "requirements.lock", ROOT / "infra" / "constraints.txt"
PIP_TOOLS = "pip-tools==7.6.2"
OWN_STEP = "torch"
OPTIONS = [
    "--all-extras",
    "--all-build-deps",
    "--generate-hashes",
    "--no-annotate",
    "--no-emit-options",
    "--no-header",
    "--quiet",
    "--strip-extras",
    f"--unsafe-package={OWN_STEP}",
]
HEADER = f"""\
# Written by `make lock` from pyproject.toml and infra/constraints.txt; not to be edited. Every file that
# pip may install, by its hash. {OWN_STEP} is installed in a step of its own: see infra/constraints.txt.
"""
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def main() -> int:
    """Write the lock; returns 1 if it holds versions that the constraints do not name."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python, written = f"{folder}/bin/python", Path(folder) / "lock"
        written.write_text(LOCK.read_text() if LOCK.exists() else "")
        subprocess.run([python, "-m", "pip", "install", "--quiet", PIP_TOOLS], check=True)
        compile_lock = [python, "-m", "piptools", "compile", *OPTIONS, f"--constraint={CONSTRAINTS}"]
        subprocess.run([*compile_lock, f"--output-file={written}", "pyproject.toml"], cwd=ROOT, check=True)
        lock = HEADER + without_remarks(written.read_text())
    LOCK.write_text(lock)
    extra = pins(lock).items() - pins(CONSTRAINTS.read_text()).items()
    for name, version in sorted(extra):
        print(f"infra/constraints.txt lacks {name}=={version}", file=sys.stderr)
    return 1 if extra else 0


def pins(text: str) -> Mapping[str, str]:
    """Versions by the normal form of a package's name."""
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in _PIN.findall(text)}


def without_remarks(text: str) -> str:
    """A lock without this project itself and without comments."""
    lines = [line for line in text.splitlines() if not line.startswith(("#", "swiftdiffusion"))]
    return "\n".join(lines).strip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
