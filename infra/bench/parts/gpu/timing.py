"""Times on a device: by events on a GPU, by the clock on a CPU."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

#: Passes before a graph is captured: libraries choose and load their kernels.
WARM_UPS = 3


class Times(NamedTuple):
    """Milliseconds of each repetition."""

    device_ms: list[float]  # what the device took
    launch_ms: list[float]  # until the call returned: where it is more, the device has waited for Python

    @property
    def ms(self) -> float:
        """The median of what the device took."""
        return median(self.device_ms)

    @property
    def launched_ms(self) -> float:
        """The median of the launches."""
        return median(self.launch_ms)


def measure(device: torch.device, act: Callable[[], object], *, rounds: int = 10, warm_ups: int = 2) -> Times:
    """Repeat ``act``; the device is idle before each repetition, as the first kernel of a step finds it."""
    for _ in range(warm_ups):
        act()
    times = Times([], [])
    for _ in range(rounds):
        synchronize(device)
        if device.type == "cuda":
            start, end = _event(), _event()
            start.record()
        began = time.perf_counter()
        act()
        times.launch_ms.append(1e3 * (time.perf_counter() - began))
        if device.type == "cuda":
            end.record()
            end.synchronize()
            times.device_ms.append(float(start.elapsed_time(end)))
        else:
            times.device_ms.append(times.launch_ms[-1])
    return times


def measure_once(device: torch.device, act: Callable[[], object]) -> float:
    """Milliseconds from the call until the device has done it, by this machine's clock."""
    synchronize(device)
    began = time.perf_counter()
    act()
    synchronize(device)
    return 1e3 * (time.perf_counter() - began)


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def record(device: torch.device, act: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
    """A CUDA graph's replay of what ``act`` launches, and the tensor that each replay writes; on a CPU
    ``act`` itself."""
    if device.type != "cuda":
        return act, act()
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            act()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = act()
    return graph.replay, out


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
