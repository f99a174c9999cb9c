"""``python -m infra.chaos [--minutes M] [--seed N]``: random faults in a real fleet under load, then checks.

The exit code is 1 if a job was lost, ended twice or gave another image, or if anything was left over.
"""

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType

from infra.bench.harness.machine import describe_machine
from infra.bench.harness.ports import stack_ports
from infra.chaos.checks import check, check_processes
from infra.chaos.faults import FAULTS, ExcusedJobs, possible_faults
from infra.chaos.report import Run, render
from infra.chaos.target import Target, own_disk
from infra.chaos.traffic import Traffic, upload_loras
from infra.local.environment import read_env_file
from infra.local.stack import Stack, detach, stop
from shared.errors import SwiftError
from shared.settings import ROOT, Settings

FOLDER = ROOT / ".run" / "chaos"
DISK_BYTES = 3 << 30
CLIENTS = 6
#: Pause after the fleet has recovered from a fault, before the next one.
PAUSE_S = (1.0, 4.0)
#: After this, the next fault happens even if the fleet has not recovered.
RECOVERY_TIMEOUT_S = 60.0


class CannotRun(SwiftError):
    """None of the requested faults can be injected on this machine."""

    code = "cannot_run"


def main() -> int:
    """Run as the command line says; returns the exit code."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, _exit_on_sigterm)  # so that SIGTERM stops the stack, too
    home = FOLDER / "stack"
    try:
        with own_disk(home, DISK_BYTES) as has_own_disk:
            if not has_own_disk:
                shutil.rmtree(home)  # removes jobs of an earlier run
            with _fleet(home, has_own_disk) as target:
                run = _run(target, options.minutes * 60, options.seed, options.only)
            run.verdict.violations += check_processes(str(home))
            _copy_logs(home)
    except SwiftError as error:
        print(error, file=sys.stderr)
        return 1
    table = render(run)
    (FOLDER / "report.md").write_text(table)
    print(f"\n{table}\nLogs: {FOLDER / 'logs'}; this table: {FOLDER / 'report.md'}")
    return 1 if run.violations else 0


def _run(target: Target, seconds: float, seed: int, only: list[str] | None) -> Run:
    rng, excused = Random(seed), ExcusedJobs()
    weights = {name: weight for name, weight in possible_faults(target).items() if not only or name in only}
    if not weights:
        raise CannotRun(f"none of these faults can be injected here without root: {', '.join(only or [])}")
    upload_loras(target)
    traffic = Traffic(target, CLIENTS, seed)
    run = Run(seconds, seed, str(describe_machine()["processor"]), traffic.log)
    run.skipped = sorted(FAULTS.keys() - possible_faults(target).keys())
    traffic.start()
    began = time.monotonic()
    try:
        while (at_s := time.monotonic() - began) < seconds:
            time.sleep(rng.uniform(*PAUSE_S))
            name = rng.choices(list(weights), list(weights.values()))[0]
            detail = FAULTS[name][0](target, rng, excused)
            recovery_s = _wait_until_healthy(target)
            run.recovered_s[name].append(recovery_s)
            minutes, rest = divmod(int(at_s), 60)
            line = f"[{minutes:02}:{rest:02}] {name}: {detail}; recovered after {recovery_s:.1f} s"
            print(f"{line}; {len(traffic.log.accepted)} jobs accepted", flush=True)
    finally:
        traffic.stop()
    print("No more faults: waiting for every job to end, then checking …", flush=True)
    run.verdict = check(target, traffic.log.accepted, excused.job_ids)
    return run


def _wait_until_healthy(target: Target) -> float:
    began = time.monotonic()
    while not target.is_healthy() and time.monotonic() - began < RECOVERY_TIMEOUT_S:
        time.sleep(0.2)
    return time.monotonic() - began


@contextmanager
def _fleet(home: Path, has_own_disk: bool) -> Iterator[Target]:
    settings = Settings.model_validate(
        {
            "home": home,
            **stack_ports(),
            "unet_workers": 2,
            "controlnet_workers": 2,
            "lease_s": 5,
            "max_attempts": 20,  # with a kill every few seconds, one job may be hit several times
        }
    )
    detach(settings)
    try:
        yield Target(Stack(home=home, env=read_env_file(home / "env")), settings, has_own_disk)
    finally:
        stop(home)


def _copy_logs(home: Path) -> None:
    shutil.rmtree(FOLDER / "logs", ignore_errors=True)
    shutil.copytree(home / "logs", FOLDER / "logs")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.chaos")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", action="append", choices=list(FAULTS), help="inject only this fault (repeatable)"
    )
    return parser


def _exit_on_sigterm(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
