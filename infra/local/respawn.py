"""Keeps one command running: starts it anew when it ends unasked, stops it and ends when told to.

    python -m infra.local.respawn --pid-file FILE --owner PID -- COMMAND…

honcho stops everything as soon as one process ends; a killed worker must not take the fleet down.
The command gets a process group of its own, so that nothing it started is left behind either.
"""

import argparse
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

#: Between two looks at the command and its owner.
POLL_S = 0.25
#: A command that is told to stop gets this long, then it is killed.
GRACE_S = 8.0
#: Pause before the command is started anew: doubled each time, until it has run for `HEALTHY_S`.
FIRST_PAUSE_S, LONGEST_PAUSE_S, HEALTHY_S = 0.25, 15.0, 30.0


def main() -> None:
    """Run the command until this process is told to stop, or its owner is gone."""
    options = _parser().parse_args()
    told = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal told
        told = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    keep_running(options.command, options.pid_file, lambda: told or not is_alive(options.owner))


def keep_running(command: Sequence[str], pid_file: Path, is_over: Callable[[], bool]) -> None:
    """Start the command again and again until ``is_over``; its pid stands in ``pid_file`` meanwhile."""
    pause_s = FIRST_PAUSE_S
    while not is_over():
        began = time.monotonic()
        status = _run(command, pid_file, is_over)
        if is_over():
            return
        if time.monotonic() - began > HEALTHY_S:
            pause_s = FIRST_PAUSE_S
        print(f"ended unasked with status {status}; starts again in {pause_s:g} s", flush=True)
        _wait_until(is_over, pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _run(command: Sequence[str], pid_file: Path, is_over: Callable[[], bool]) -> int:
    process = subprocess.Popen(command, process_group=0)
    try:
        new = pid_file.with_suffix(".new")
        new.write_text(f"{process.pid}\n")
        new.replace(pid_file)
        while process.poll() is None and not is_over():
            time.sleep(POLL_S)
        if process.poll() is None:
            process.terminate()
            _wait_until(lambda: process.poll() is not None, GRACE_S)
    finally:
        pid_file.unlink(missing_ok=True)
        _kill_group(process.pid)
    return process.wait()


def _wait_until(is_true: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_true() and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _kill_group(group: int) -> None:
    """Kill what is left of the command: itself when it would not stop, and its children."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.local.respawn")
    parser.add_argument("--pid-file", type=Path, required=True, help="holds the command's pid while it runs")
    parser.add_argument("--owner", type=int, required=True, help="stop when this process is gone")
    parser.add_argument("command", nargs="+", help="what to run, after --")
    return parser


if __name__ == "__main__":
    main()
