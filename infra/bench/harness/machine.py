"""Where and with what a run was made: figures mean nothing without it."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from shared.settings import ROOT

PACKAGES = ("torch", "diffusers", "transformers", "celery", "redis", "gunicorn", "flask")


def describe_machine() -> dict[str, str | float]:
    """Processor, memory, system; and the load before the run, which says how far to trust its times."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": float(os.cpu_count() or 0),
        "memory_gb": round(memory_bytes / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load_1min_before": round(os.getloadavg()[0], 2),
    }


def describe_versions() -> dict[str, str]:
    """What was measured, beside this repository."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def describe_commit() -> str:
    """The commit, with ``-dirty`` where files differ from it; ``unknown`` outside a repository."""
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        answer = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
