"""Runs experiments one after the other: each with a time budget, its figures written as soon as it ends.

A run that is cut off leaves what it has measured. An experiment that fails or cannot be done here says so
in a sentence, and the next one runs.
"""

import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import FrameType

from infra.bench.harness.report import CheckFailed, Measured
from infra.bench.parts.gpu.context import Context, Skipped

EXPERIMENTS = "infra.bench.parts.gpu.experiments"


class BudgetSpent(BaseException):
    """The experiment has used its time. No `Exception`: libraries that catch those must let it through."""


@dataclass(frozen=True)
class Experiment:
    """A function ``run(context)`` in a module of its own."""

    name: str  # as `--only` takes it
    title: str
    module: str
    budget_s: float
    quick_s: float | None  # its budget in the quick form; None: only if it is named

    def load(self) -> Callable[[Context], object]:
        """What runs it; its module is imported now, as it may need a package that is not installed."""
        run: Callable[[Context], object] = import_module(f"{EXPERIMENTS}.{self.module}").run
        return run


#: In order of worth: what a run that is cut off should have measured first.
ALL = (
    Experiment("E0", "rates of the card: matrix products, memory, links", "rates", 40, 10),
    Experiment("E1", "diffusers as its users run it, and the parts of its step", "eager", 60, 30),
    Experiment("E3", "CUDA graphs of the UNet", "graphs", 60, 30),
    Experiment("E4", "0C/0L in the fleet: latency, GPU busy share, gap per step", "plain_jobs", 200, 120),
    Experiment("E5", "1C on one GPU, and the handover of residuals", "controlnet_jobs", 190, 100),
    Experiment("E7", "LoRA of rank 64: prepare, patch, restore, cold tax", "lora", 120, 70),
    Experiment("E9", "VAE, PNG, and the gap before the next job", "tail", 60, None),
    Experiment("E6", "1C under MPS", "mps_jobs", 90, None),
    Experiment("E2", "compiled: diffusers, and the fleet's engine", "compiled", 380, None),
    Experiment("E8", "kill -9 of the process that writes residuals", "kills", 120, None),
    Experiment("E10", "drills: out of memory, device assert", "drills", 120, None),
    Experiment("E11", "production mix, against Celery workers with diffusers", "trace", 240, None),
    Experiment("E12", "half of a Flux, with a ControlNet and without", "transformer", 300, None),
)
NAMES = tuple(experiment.name for experiment in ALL)


def choose(only: Sequence[str], *, quick: bool) -> list[Experiment]:
    """The experiments of a run, in the order named, else of worth; raises `CheckFailed` for unknown names."""
    unknown = [name for name in only if name not in NAMES]
    if unknown:
        raise CheckFailed(f"no experiment {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if only:
        by_name = {experiment.name: experiment for experiment in ALL}
        return [by_name[name] for name in dict.fromkeys(only)]
    return [experiment for experiment in ALL if not quick or experiment.quick_s is not None]


def run_all(
    context: Context,
    experiments: Sequence[Experiment],
    within_s: float | None,
    save: Callable[[Measured], object],
) -> None:
    """Run them; ``save`` gets everything after each."""
    deadline = float("inf") if within_s is None else time.monotonic() + within_s
    for experiment in experiments:
        budget_s = experiment.quick_s or experiment.budget_s if context.quick else experiment.budget_s
        left_s = deadline - time.monotonic()
        if left_s < budget_s / 2:
            context.note(f"{experiment.name} left out: {left_s:.0f} s are left, it takes up to {budget_s:g}")
            continue
        print(f"  {experiment.name}: {experiment.title} (at most {min(budget_s, left_s):.0f} s)", flush=True)
        began = time.monotonic()
        _run_one(context, experiment, min(budget_s, left_s))
        context.samples[f"{experiment.name.lower()}_took_s"] = [time.monotonic() - began]
        print(f"    took {time.monotonic() - began:.1f} s", flush=True)
        context.experiment = ""
        save(context.measured())


def _run_one(context: Context, experiment: Experiment, budget_s: float) -> None:
    name = context.experiment = experiment.name
    try:
        # Not in its time: torch whose import is cut off cannot be imported by the next one either.
        run = experiment.load()
        context.ends_at = time.monotonic() + budget_s
        with at_most(budget_s):
            run(context)
    except BudgetSpent:
        context.note(f"{name} cut off after {budget_s:.0f} s")
    except Skipped as error:
        context.note(f"{name} skipped: {error}")
    except ModuleNotFoundError as error:
        context.note(f"{name} skipped: {error.name} is not installed")
    except CheckFailed as error:
        context.fail(f"{name}: {error}")
    except Exception as error:  # the next one may work; what went wrong is in the output and the result
        traceback.print_exc()
        context.fail(f"{name} failed: {type(error).__name__}: {_first_line(error)}")


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `BudgetSpent` in the block after ``seconds``; in the main thread. SIGALRM is left to others."""
    is_over = threading.Event()

    def spend(_signal: int, _frame: FrameType | None) -> None:
        if not is_over.is_set():
            raise BudgetSpent

    before = signal.signal(signal.SIGUSR1, spend)
    main = threading.get_ident()
    timer = threading.Timer(seconds, lambda: signal.pthread_kill(main, signal.SIGUSR1))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        is_over.set()
        timer.cancel()
        timer.join()  # its signal has come, or does not any more
        signal.signal(signal.SIGUSR1, before)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no text"])[0][:300]
