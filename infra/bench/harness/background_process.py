"""A process that computes on the other core while something is measured here, and reports how long it took.

It computes from ``go`` on its standard input until ``stop``, and answers with the medians of its times.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import torch

from infra.bench.harness.processes import CONTROLNET_CORE, pin_this_process
from infra.local.environment import inherit

#: Computes once; returns the seconds of each of its parts.
Compute = Callable[[], Sequence[float]]


class BackgroundProcess:
    """The other process, as its parent controls it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def go(self, every_s: float = 0.0) -> None:
        """Start computing: without a pause, or once in ``every_s`` seconds."""
        self._tell(f"go {every_s}")

    def stop(self) -> list[float]:
        """Stop computing; returns the median seconds of each part, of one computation at least."""
        self._tell("stop")
        assert self._process.stdout is not None
        medians: list[float] = json.loads(self._process.stdout.readline())
        return medians

    def _tell(self, words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()


@contextmanager
def running_background_process(module: str, *words: str) -> Iterator[BackgroundProcess]:
    """``python -m MODULE WORDS``, which calls `serve`; yields once it is ready. It ends with the block."""
    environment = inherit({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"})
    with subprocess.Popen(
        [sys.executable, "-m", module, *words],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # it is loaded
            yield BackgroundProcess(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


def serve(make: Callable[[], Compute]) -> None:
    """Run in the other process, on the ControlNet's core: load with ``make``, then compute when told to."""
    torch.set_num_threads(1)
    pin_this_process(CONTROLNET_CORE)
    compute = make()
    print("ready", flush=True)
    stop, thread, times = threading.Event(), threading.Thread(), list[Sequence[float]]()
    for line in sys.stdin:
        word, *numbers = line.split()
        if word == "go":
            stop.clear()
            times.clear()
            thread = threading.Thread(target=_repeat, args=(compute, float(numbers[0]), stop, times))
            thread.start()
        else:
            stop.set()
            thread.join()
            print(json.dumps([median(part) for part in zip(*times, strict=True)]), flush=True)


@torch.inference_mode()
def _repeat(compute: Compute, every_s: float, stop: threading.Event, times: list[Sequence[float]]) -> None:
    while not times or not stop.is_set():
        start = time.perf_counter()
        times.append(compute())
        stop.wait(max(0.0, start + every_s - time.perf_counter()))
