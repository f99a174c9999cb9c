"""``python -m infra.chaos``: random faults in a real fleet under load, then checks.

``--saturated`` keeps jobs waiting all the time, and does not wait for a worker that starts again before it
ends the next one. ``--jobs N`` submits short jobs until N are accepted. ``--mixed-catalog`` serves models of
every architecture with memory for about half of them. The exit code is 1 if a job was lost,
ended twice or gave another image, if an interrupted job was noticed too late, if a webhook did not tell of
the end of one or was not signed by its tenant's secret, if a tenant saw a job of another one, or if anything
grew or was left over.
"""

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from types import FrameType

from infra.bench.harness.machine import describe_machine
from infra.bench.harness.ports import stack_ports
from infra.chaos.checks import Check, check_processes
from infra.chaos.faults import ACCOUNTABLE, FAULTS, Consequences, possible_faults, protect_from_cuts
from infra.chaos.plot import plot_run
from infra.chaos.recipes.modes import MIXED_MODE, RECIPES
from infra.chaos.report import Injected, Run, Setup, render
from infra.chaos.resources import ALLOWED_MB, MIXED_WORKER_MB, ResourceLog, grown
from infra.chaos.target import Target, own_disk
from infra.chaos.tenants import create_tenants
from infra.chaos.traffic import LORA_FILES, Traffic, upload_loras
from infra.chaos.webhooks import HOST, TIMEOUT_S, receiving_webhooks
from infra.emoji_files import LORA
from infra.local.environment import read_env_file
from infra.local.stack import Stack, detach, stop
from shared.errors import SwiftError
from shared.settings import ROOT, Settings

FOLDER = ROOT / ".run" / "chaos"
MIXED_MODELS = FOLDER / "models"
DISK_BYTES = 3 << 30
CLIENTS = 6
#: Jobs that wait for a worker in a saturated run.
QUEUE_LENGTH = 6
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
            with _fleet(home, has_own_disk, options) as target:
                run = _run(target, options)
            run.verdict.violations += check_processes(str(home))
            _copy_logs(home)
    except SwiftError as error:
        print(error, file=sys.stderr)
        return 1
    table = render(run)
    (FOLDER / "report.md").write_text(table)
    plot_run(run, FOLDER / "report.png")
    print(f"\n{table}\nLogs: {FOLDER / 'logs'}; this table: {FOLDER / 'report.md'}")
    return 1 if run.violations else 0


def _run(target: Target, options: argparse.Namespace) -> Run:
    consequences = Consequences()
    possible = possible_faults(target)
    weights = {name: weight for name, weight in possible.items() if name in options.faults}
    if not weights:
        raise CannotRun(f"none of these faults can be injected here without root: {options.faults}")
    mode, waiting = ("saturated", QUEUE_LENGTH) if options.saturated else ("mixed", None)
    if options.jobs is not None:
        mode = "short"
    if options.mixed_catalog:
        mode = MIXED_MODE
    upload_loras(target, _mixed_loras() if options.mixed_catalog else LORA_FILES)
    traffic = Traffic(
        target,
        RECIPES[mode],
        clients=CLIENTS,
        seed=options.seed,
        queue_length=waiting,
        has_priorities=options.priorities,
    )
    fleet = f"{options.unet_workers} UNet and {options.controlnet_workers} ControlNet workers, {mode}"
    fleet += ", jobs of all priorities" if options.priorities else ""
    fleet += f", {options.tenants} tenants with keys" if options.tenants else ""
    machine = str(describe_machine()["processor"])
    run = Run(Setup(options.minutes * 60, options.seed, fleet, machine), traffic.log)
    run.skipped = sorted(set(options.faults) - possible.keys())
    url, submitters = target.stack.api_url, {one: target.headers(one) for one in target.submitters}
    with receiving_webhooks(url, options.seed, submitters) as webhooks, ResourceLog(target) as resources:
        protect_from_cuts(target)
        before = resources.take()
        traffic.start()
        try:
            _inject(target, options, weights, run, resources, consequences)
        finally:
            traffic.stop()
        print("No more faults: waiting for every job to end, then checking …", flush=True)
        check = Check(target, traffic.log.accepted, consequences.excused, mode)
        check.check_jobs()
        run.verdict = check.verdict
        run.verdict.kills = consequences.kills
        check.check_webhooks(webhooks)
        check.check_tenants()
        check.check_interruptions(consequences.interruptions, is_accountable=set(weights) <= ACCOUNTABLE)
        check.check_leftovers()
        after = resources.take()
    run.samples = resources.samples
    if before is not None and after is not None:
        mixed_mb = dict.fromkeys(target.worker_names, MIXED_WORKER_MB) if options.mixed_catalog else {}
        run.verdict.violations += grown(before, after, resources.samples, {**ALLOWED_MB, **mixed_mb})
    return run


def _inject(
    target: Target,
    options: argparse.Namespace,
    weights: dict[str, int],
    run: Run,
    resources: ResourceLog,
    consequences: Consequences,
) -> None:
    rng = Random(options.seed)
    may_go_on = partial(_has_others, target) if options.saturated else target.is_healthy
    jobs = float("inf") if options.jobs is None else options.jobs
    while (at_s := resources.now_s) < run.setup.seconds and len(run.log.accepted) < jobs:
        time.sleep(rng.uniform(*PAUSE_S))
        name = rng.choices(list(weights), list(weights.values()))[0]
        run.injected.append(Injected(resources.now_s, name))
        detail = FAULTS[name][0](target, rng, consequences)
        recovery_s = _wait_until(may_go_on)
        run.recovered_s[name].append(recovery_s)
        minutes, rest = divmod(int(at_s), 60)
        line = f"[{minutes:02}:{rest:02}] {name}: {detail}; recovered after {recovery_s:.1f} s"
        print(f"{line}; {len(run.log.accepted)} jobs accepted", flush=True)


def _has_others(target: Target) -> bool:
    """Whether one more worker may be ended: another one is there to notice, and to take its job."""
    return len(target.live_workers("unet")) > 1


def _wait_until(is_true: Callable[[], bool]) -> float:
    began = time.monotonic()
    while not is_true() and time.monotonic() - began < RECOVERY_TIMEOUT_S:
        time.sleep(0.2)
    return time.monotonic() - began


@contextmanager
def _fleet(home: Path, has_own_disk: bool, options: argparse.Namespace) -> Iterator[Target]:
    settings = Settings.model_validate(
        {
            "home": home,
            **stack_ports(),
            "unet_workers": options.unet_workers,
            "controlnet_workers": options.controlnet_workers,
            "webhook_private_targets": (HOST,),
            "webhook_timeout_s": TIMEOUT_S,
            "auth": "keys" if options.tenants else "off",
            "max_attempts": 20,  # with a kill every few seconds, one job may be hit several times
            **(_mixed_settings() if options.mixed_catalog else {}),
        }
    )
    detach(settings)
    try:
        stack = Stack(home=home, env=read_env_file(home / "env"))
        yield Target(stack, settings, has_own_disk, create_tenants(stack, options.tenants))
    finally:
        stop(home)


def _mixed_settings() -> dict[str, object]:
    from infra.tiny_models.mixed_catalog import write_mixed_catalog  # torch, which other runs do without

    catalog = write_mixed_catalog(MIXED_MODELS)
    return {"catalog": catalog.path, "model_memory_bytes": catalog.memory_bytes}


def _mixed_loras() -> dict[str, Path]:
    """By their names in requests: those that `_mixed_settings` has written, and the embedded one."""
    files = {path.stem: path for path in MIXED_MODELS.glob("*.safetensors")}
    return {"emoji-sd-lora": LORA, **files}


def _copy_logs(home: Path) -> None:
    shutil.rmtree(FOLDER / "logs", ignore_errors=True)
    shutil.copytree(home / "logs", FOLDER / "logs")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.chaos")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unet-workers", type=int, default=2)
    parser.add_argument("--controlnet-workers", type=int, default=2)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--saturated", action="store_true", help="jobs wait for a worker all the time")
    kind.add_argument("--mixed-catalog", action="store_true", help="models of every architecture")
    kind.add_argument("--jobs", type=int, help="short jobs, until so many are accepted or MINUTES are over")
    parser.add_argument(
        "--tenants", type=int, default=0, help="so many with API keys, whose jobs these are; 0: no keys"
    )
    parser.add_argument(
        "--priorities", action="store_true", help="jobs of all priorities: batch jobs are preempted"
    )
    parser.add_argument(
        "--faults",
        type=_faults,
        default=list(FAULTS),
        help=f"only these, comma separated, of {', '.join(FAULTS)}",
    )
    return parser


def _faults(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in FAULTS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(FAULTS)}")
    return names


def _exit_on_sigterm(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
