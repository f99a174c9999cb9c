"""E6: the jobs of E5 under MPS, each process with half of the multiprocessors: a stand-in for two devices.

What a step takes without a ControlNet is measured before, with the whole GPU. The daemon has folders of its
own, so only this fleet uses it, and it ends with the experiment. A fault of one client would reach the
others: nobody else is one.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.bench.parts.gpu.card import MPS_CONTROL, has_mps
from infra.bench.parts.gpu.context import Context, Skipped
from infra.bench.parts.gpu.experiments.controlnet_jobs import backends, best_engine, compare, settings_for
from infra.bench.parts.gpu.fleet.jobs import fleet_of, stop_fleets
from infra.local.environment import inherit

PERCENT = 50
DAEMON_S = 20.0


def run(context: Context) -> None:
    """See the module."""
    if not context.is_gpu:
        raise Skipped("MPS needs a GPU")
    if not has_mps():
        raise Skipped(f"there is no {MPS_CONTROL} here")
    plain = [fleet_of(context).generate(best_engine(context), 450 + i).step_ms for i in range(3)]
    stop_fleets(context)
    backend = backends(context)[0]
    with running_mps(context.folder / "mps") as environment:
        share = {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(PERCENT)}
        fleet = fleet_of(context, "mps", env={**environment, **share}, **settings_for(backend))
        compare(context, fleet, "half_each", "tax_1c_mps", carried_by=backend, plain_ms=min(plain[1:]))
        context.figure("tax_1c_mps", context.figures["tax_1c_mps_half_each"])
        stop_fleets(context)


@contextmanager
def running_mps(folder: Path) -> Iterator[dict[str, str]]:
    """The daemon, and the variables by which clients find it; raises `Skipped` if it does not start."""
    pipes, logs = folder / "pipes", folder / "logs"
    for made in (pipes, logs):
        made.mkdir(parents=True)
    environment = {"CUDA_MPS_PIPE_DIRECTORY": str(pipes), "CUDA_MPS_LOG_DIRECTORY": str(logs)}
    started = _control(["-d"], environment)
    if started.returncode:
        raise Skipped(f"{MPS_CONTROL} does not start: {(started.stderr or started.stdout).strip()[:200]}")
    try:
        yield environment
    finally:
        _control([], environment, "quit\n")


def _control(
    words: list[str], environment: dict[str, str], asked: str | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [MPS_CONTROL, *words],
        env=inherit(environment),
        input=asked,
        capture_output=True,
        text=True,
        timeout=DAEMON_S,
        check=False,
    )
