"""Worker processes on timed devices, which join a running stack through its Redis."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from types import MappingProxyType

from infra.bench.harness.fleet import Fleet
from infra.bench.harness.workers import Worker, running_workers
from infra.bench.timed.models import NAME
from shared.registry.workers import WorkerKind

_SERIAL = count(1)


@contextmanager
def devices(
    fleet: Fleet,
    *,
    unets: int = 0,
    models: str = NAME,
    controlnets: tuple[str, ...] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[list[int]]:
    """``unets`` UNet workers, and a ControlNet worker for each of ``controlnets``: one or several, comma
    separated.

    ``models``: those that UNet workers serve, comma separated; ``environment``: further settings of all.
    Yields the processes' ids.
    """

    def device(name: str, kind: WorkerKind, serves: Mapping[str, str]) -> Worker:
        named = f"{name}-{next(_SERIAL)}"
        return Worker(named, kind, f"infra.bench.timed.{kind}_app", {**environment, **serves})

    # Unless ``environment`` says otherwise they may hold every ControlNet, whatever the stack's own may.
    elastic = {"SWIFT_WORKER_CONTROLNETS": "", **environment, "SWIFT_WORKER_MODELS": models}
    workers = [device("timed-unet", "unet", elastic) for _ in range(unets)]
    workers += [
        device(names.partition(",")[0], "controlnet", {"SWIFT_WORKER_CONTROLNETS": names})
        for names in controlnets
    ]
    with running_workers(fleet, workers) as pids:
        yield pids
