"""Steps between two ends of the transport, with memory of the host in place of a GPU's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from redis import Redis

from infra.bench.harness.report import CheckFailed
from infra.bench.parts.gpu.context import Context
from infra.bench.parts.gpu.experiments.handover import Steps
from infra.bench.parts.gpu.experiments.kills import hand_over_before, kill_writers
from infra.bench.parts.gpu.handover.ends import Act, Answer, Command, End, Setup
from infra.bench.parts.gpu.handover.processes import EndProcess, Handover
from shared.settings import Settings
from tests.workers.transport.backends.host_slabs import HostSlabs
from workers.devices.slabs import DeviceSlabs
from workers.devices.streamless import CPUDevice


class SharingDevice(CPUDevice):
    """Its memory can be opened by others."""

    def __init__(self, folder: Path) -> None:
        super().__init__(torch.device("cpu"))
        self._slabs = HostSlabs(folder)

    def slabs(self) -> DeviceSlabs:
        return self._slabs


class OwnEnd(EndProcess):
    """An end in this process, which acts when it is heard, and never after it was killed."""

    def __init__(self, setup: Setup, folder: Path) -> None:
        self._end = End(setup, SharingDevice(folder))
        self._told: list[Command] = []

    def tell(self, act: Act, number: int = 0, **options: Any) -> None:
        self._told.append(Command(act=act, number=number, **options))

    def wait_until_ready(self) -> None:
        pass

    def kill(self) -> None:
        self._told.clear()

    def hear(self) -> Answer:
        return self._end.do(self._told.pop(0))


class OwnHandover(Handover):
    """Starts ends in this process."""

    def __init__(self, setup: Setup, folder: Path) -> None:
        self._setup, self._own_folder = setup, folder

    def start(self, backend: str) -> OwnEnd:
        return OwnEnd(self._setup.model_copy(update={"backend": backend}), self._own_folder)


@pytest.fixture
def handover(servers: Settings, residual: Redis, tmp_path: Path) -> OwnHandover:
    residual.flushall()
    setup = Setup(
        redis_url=servers.residual_redis_url[0],
        device="cpu",
        dtype="float32",
        shapes=((2, 64, 16, 16), (2, 32, 32, 32)),
        backend="cuda_ipc",
        shared_memory_bytes=1 << 24,
    )
    return OwnHandover(setup, tmp_path)


@pytest.fixture
def ends(handover: OwnHandover) -> list[OwnEnd]:
    """A writer and a reader that prefer ``cuda_ipc``."""
    return [handover.start("cuda_ipc") for _ in range(2)]


def test_cuda_ipc_carries_residuals_once_both_ends_have_swept(ends: list[OwnEnd]) -> None:
    writer, reader = ends
    steps = Steps(writer, reader, "cuda_ipc")
    carried = [steps.try_out() for _ in range(3)]
    assert carried[0] != ("cuda_ipc",), "the writer has not been verified yet"
    assert carried[-1] == ("cuda_ipc",)


def test_a_writer_is_killed_only_if_its_backend_carries_residuals(ends: list[OwnEnd]) -> None:
    writer, reader = ends
    assert hand_over_before(writer, reader, 100, "cuda_ipc") > 0
    with pytest.raises(CheckFailed, match="cuda_ipc carried the residuals, not redis"):
        hand_over_before(writer, reader, 200, "redis")


def test_steps_of_killed_writers_are_counted_as_whole_partly_or_lost(
    handover: OwnHandover, tmp_path: Path
) -> None:
    context = Context(quick=True, folder=tmp_path, device="cpu")
    # Given writers that are killed before they have sent anything of a step
    kill_writers(context, handover, handover.start("redis"), "redis")
    # Then no step came, nothing was wrong, and the reader serves another writer
    names = ("kills", "kills_step_whole", "kills_step_partly", "kills_wrong_data", "kills_sticky_errors")
    assert [context.figures[name] for name in names] == [2, 0, 0, 0, 0]
    assert context.failures == []
