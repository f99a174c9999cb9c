"""CPU and memory of the idle fleet in ``SWIFT_HOME``: ``python -m infra.bench.parts.web.idle [SECONDS]``."""

import sys
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from infra.local.home_lock import find_holder
from infra.local.ready import read_pids
from shared.settings import read_settings

SECONDS = 60.0


def main() -> int:
    """Print CPU and memory of each process, children included; returns the exit code."""
    home = Path(read_settings().home).resolve()
    holder = find_holder(home)
    if not holder:
        print(f"no fleet runs in {home}", file=sys.stderr)
        return 1
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    groups = {name: _family(pid) for name, pid in read_pids(home).items()}
    groups["supervisor"] = [psutil.Process(holder)]
    before = {name: _cpu_s(processes) for name, processes in groups.items()}
    time.sleep(seconds)
    total_percent = total_mb = 0.0
    print("| process | CPU, % of a core | memory, MB |\n|---|--:|--:|")
    for name, processes in groups.items():
        percent = (_cpu_s(processes) - before[name]) / seconds * 100
        mb = sum(process.memory_info().rss for process in processes) / 1e6
        total_percent, total_mb = total_percent + percent, total_mb + mb
        print(f"| {name} | {percent:.2f} | {mb:.0f} |")
    print(f"| all | {total_percent:.2f} | {total_mb:.0f} |")
    return 0


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


if __name__ == "__main__":
    sys.exit(main())
