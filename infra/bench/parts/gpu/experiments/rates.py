"""E0: what the card can do at best: matrix products, copies in its memory, copies to and from the host.

Everything else is held against these rates. Beside them stands how far the machine is from idle.
"""

import mmap
import tempfile

import torch

from infra.bench.parts.gpu.card import SHARED_MEMORY, has_mps, shared_memory_gb
from infra.bench.parts.gpu.context import Context
from infra.bench.parts.gpu.timing import measure
from workers.devices.selection import find_device

MB = 1e6
#: Large enough to fill a GPU, small enough for a CPU.
MATMUL_SIDE = {"float16": 8192, "float32": 256}


@torch.inference_mode()
def run(context: Context) -> None:
    """See the module."""
    matmul_tflops(context)
    memory_gb_per_s(context)
    context.figure("dev_shm_gb", shared_memory_gb())
    context.figure("has_mps", float(has_mps()))
    for mb in context.size.copied_mb:
        _links(context, mb)
    largest = context.size.copied_mb[-1]
    names = [f"{way}_registered_gb_per_s_{largest}mb" for way in ("h2d", "d2h")]
    if all(name in context.figures for name in names):
        slower = min(context.figures[name] for name in names)
        context.figure("registered_gb_per_s", slower)
    _launch(context)


def matmul_tflops(context: Context) -> float:
    """10¹² operations a second of one large product in the models' dtype, on random numbers."""

    def rate() -> float:
        side, dtype = MATMUL_SIDE[context.size.dtype], getattr(torch, context.size.dtype)
        a, b = (torch.randn(side, side, device=context.device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        ms = measure(context.device, lambda: torch.mm(a, b, out=out), rounds=10, warm_ups=3).ms
        return context.figure("matmul_tflops", 2 * side**3 / 1e9 / ms)

    return float(context.kept("matrix products", rate))


def memory_gb_per_s(context: Context) -> float:
    """10⁹ bytes a second of a copy within the device's memory, read and written bytes counted."""

    def rate() -> float:
        size = (1 << 31) if context.is_gpu else (1 << 24)
        source = torch.empty(size, dtype=torch.uint8, device=context.device).random_()
        target = torch.empty_like(source)
        ms = measure(context.device, lambda: target.copy_(source)).ms
        return context.figure("memory_gb_per_s", 2 * size / 1e6 / ms)

    return float(context.kept("copies in memory", rate))


def _links(context: Context, mb: int) -> None:
    """Copies of ``mb`` MB: within the device, and each way over the link from three kinds of memory."""
    size = int(mb * MB)
    device = find_device(context.device)
    on_device = torch.empty(size, dtype=torch.uint8, device=context.device).random_()
    other = torch.empty_like(on_device)
    limit = 2 * size / 1e6 / memory_gb_per_s(context)
    ms = measure(context.device, lambda: other.copy_(on_device)).ms
    context.figure(f"copy_ms_{mb}mb", ms, limit=limit)
    _both_ways(context, "pageable", mb, on_device, torch.empty(size, dtype=torch.uint8).random_())
    if not context.is_gpu:
        return
    _both_ways(context, "pinned", mb, on_device, device.pinned(size))
    with tempfile.TemporaryFile(dir=SHARED_MEMORY) as file:
        file.truncate(size)
        with mmap.mmap(file.fileno(), size) as mapped:
            shared = torch.frombuffer(mapped, dtype=torch.uint8)
            shared.zero_()
            if device.register(shared.data_ptr(), size):
                _both_ways(context, "registered", mb, on_device, shared)
                device.unregister(shared.data_ptr())
            else:
                context.note("shared memory cannot be registered with the driver here")
            del shared


def _both_ways(context: Context, kind: str, mb: int, on_device: torch.Tensor, host: torch.Tensor) -> None:
    to_device = measure(context.device, lambda: on_device.copy_(host, non_blocking=True)).ms
    to_host = measure(context.device, lambda: host.copy_(on_device, non_blocking=True)).ms
    for way, ms in (("h2d", to_device), ("d2h", to_host)):
        context.figure(f"{way}_{kind}_gb_per_s_{mb}mb", mb / ms)


def _launch(context: Context) -> None:
    """What Python and the driver take to start one small kernel."""
    small = torch.zeros(1, device=context.device)

    def thousand() -> None:
        for _ in range(1000):
            small.add_(1)

    context.figure("launch_us", measure(context.device, thousand, rounds=3).launched_ms)
