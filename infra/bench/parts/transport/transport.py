"""Part ``transport``: one step's residuals from process to process, over each backend, and against its limit.

The limit of the Redis backend is ``raw``: the same bytes over the same hops (producer, server, consumer; TCP
on loopback), without a protocol, between preallocated buffers. The limit of shared memory is ``memcpy``: the
same tensors copied once, in one process, into preallocated memory. Time runs from when the first
tensor is handed over until the consumer holds the last.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from infra.bench.harness.ports import free_ports
from infra.bench.harness.report import Bound, CheckFailed, Measured, Result
from infra.bench.parts.transport.transports import (
    STEPS,
    Addresses,
    MeasuredTransport,
    Raw,
    make_residuals,
    make_transports,
)
from infra.local.environment import inherit
from infra.local.servers import redis_command, residual_redis_environment, wait_for_redis

BOUNDS = {
    "redis_over_raw_27mb": Bound("at_least", 0.8),
    "redis_over_raw_107mb": Bound("at_least", 0.8),
    "shm_over_memcpy_27mb": Bound("at_least", 0.6),
    "shm_over_memcpy_107mb": Bound("at_least", 0.6),
}
#: What is held against what.
RATIOS = (
    ("redis", "raw", "27mb"),
    ("redis", "raw", "107mb"),
    ("redis", "redispy", "107mb"),
    ("shm", "memcpy", "27mb"),
    ("shm", "memcpy", "107mb"),
    ("shm", "redispy", "107mb"),
)
WARM_UPS = 2
#: As the embedded residual Redis.
LIMIT_BYTES = 1 << 30
READY_S = 30.0


class Consumer:
    """This process's end of every transport."""

    def __init__(self, producer: "subprocess.Popen[str]", transports: dict[str, MeasuredTransport]) -> None:
        self._producer = producer
        self._transports = transports
        self._residuals = {step: make_residuals(step) for step in STEPS}
        self._kept = {step: [torch.zeros_like(t) for t in own] for step, own in self._residuals.items()}
        self._number = 0

    def measure(self, transport: str, step: str) -> float:
        """Seconds; raises `CheckFailed` unless every bit arrived."""
        if transport == "memcpy":
            return self._copy(step)
        self._number += 1
        self._transports[transport].ask(self._number)
        self._tell(f"{transport} {step} {self._number}")
        received = self._transports[transport].receive(self._number, STEPS[step])
        ended = time.monotonic()
        began = float(self._hear())
        if not all(map(torch.equal, received, self._residuals[step])):
            raise CheckFailed(f"{transport}: what arrived is not what was sent")
        return ended - began

    def _copy(self, step: str) -> float:
        began = time.monotonic()
        for kept, tensor in zip(self._kept[step], self._residuals[step], strict=True):
            kept.copy_(tensor)
        return time.monotonic() - began

    def _tell(self, line: str) -> None:
        assert self._producer.stdin is not None
        self._producer.stdin.write(f"{line}\n")
        self._producer.stdin.flush()

    def _hear(self) -> str:
        assert self._producer.stdout is not None
        return self._producer.stdout.readline()


def measure(quick: bool) -> Measured:
    """All transports by turns, several times."""
    pairs = 9 if quick else 30
    torch.set_num_threads(1)
    times: dict[tuple[str, str], list[float]] = {}
    with _running_consumer() as consumer:
        for i in range(-WARM_UPS, pairs):
            for step in STEPS:
                for transport in ("memcpy", "shm", "raw", "redis", "redispy"):
                    seconds = consumer.measure(transport, step)
                    if i >= 0:
                        times.setdefault((transport, step), []).append(seconds)
    figures: dict[str, float] = {}
    samples: dict[str, list[float]] = {}
    for transport, limit, step in RATIOS:
        name = f"{transport}_over_{limit}_{step}"
        pairs_of_times = zip(times[transport, step], times[limit, step], strict=True)
        samples[name] = [theirs / ours for ours, theirs in pairs_of_times]
        figures[name] = median(samples[name])
        figures |= {f"{name}_min": min(samples[name]), f"{name}_max": max(samples[name])}
    for (transport, step), seconds_each in times.items():
        samples[f"{transport}_ms_{step}"] = [1e3 * seconds for seconds in seconds_each]
        figures[f"{transport}_ms_{step}"] = 1e3 * median(seconds_each)
        figures[f"{transport}_mb_per_s_{step}"] = _megabytes(step) / median(seconds_each)
    return Measured(figures, samples, BOUNDS)


def plot(result: Result, left: Any, right: Any) -> None:
    """Throughput of every transport, and how far each backend is from its limit."""
    transports = ("memcpy", "shm", "raw", "redis", "redispy")
    for shift, step in ((-0.2, "27mb"), (0.2, "107mb")):
        heights = [result.figures[f"{transport}_mb_per_s_{step}"] for transport in transports]
        left.bar([i + shift for i in range(len(transports))], heights, 0.4, label=step)
    left.set_xticks(range(len(transports)), transports)
    left.set(yscale="log", ylabel="MB/s", title="one step's residuals")
    left.legend()
    names = list(result.targets)
    right.boxplot([result.samples[name] for name in names], orientation="horizontal", tick_labels=names)
    for row, name in enumerate(names, 1):
        right.plot([result.targets[name].at_least] * 2, [row - 0.4, row + 0.4], ":", color="tab:red")
    right.set(xlabel="share of the limit (dotted: target)", xlim=(0, None))


def _megabytes(step: str) -> float:
    return sum(tensor.nbytes for tensor in make_residuals(step)) / 1e6


@contextmanager
def _running_consumer() -> Iterator[Consumer]:
    redis_port, relay_port = free_ports(2)
    addresses = Addresses(redis_url=f"redis://127.0.0.1:{redis_port}/0", relay_port=relay_port)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        command = redis_command(redis_port, folder, persistent=False, max_bytes=LIMIT_BYTES)
        stack.enter_context(_started(command, residual_redis_environment()))
        wait_for_redis(addresses.redis_url, READY_S)
        relay = stack.enter_context(_started(_python("relay", str(relay_port))))
        _wait_for(relay)
        producer = stack.enter_context(_started(_python("producer")))
        transports = make_transports(addresses)
        consumer = Consumer(producer, transports)
        consumer._tell(addresses.model_dump_json())
        _wait_for(producer)
        raw = transports["raw"]
        assert isinstance(raw, Raw)
        raw.connect()
        yield consumer


@contextmanager
def _started(command: list[str], environment: Mapping[str, str] = {}) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=inherit(environment)
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _python(module: str, *words: str) -> list[str]:
    return [sys.executable, "-m", f"infra.bench.parts.transport.{module}", *words]


def _wait_for(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise CheckFailed(f"{process.args!r} did not start")
