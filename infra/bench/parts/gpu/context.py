"""What the experiments share: the card, models, a running fleet, and what has been measured so far."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from infra.bench.harness.report import CheckFailed, Measured
from infra.bench.parts.gpu.card import describe_card
from infra.bench.parts.gpu.sizes import SDXL, TOY, Size
from infra.bench.parts.gpu.targets import bounds_of
from shared.errors import SwiftError
from workers.devices.selection import find_device

if TYPE_CHECKING:
    from infra.bench.parts.gpu.models import Models


class Skipped(SwiftError):
    """An experiment cannot be done here; its text says what is missing."""

    code = "skipped"


class Context:
    """One run of the part. Experiments take models from it, and tell it their figures as they come."""

    def __init__(self, *, quick: bool, folder: Path, device: str | None = None) -> None:
        """``folder`` is for models and fleets; ``device`` is the first GPU, or else the CPU."""
        self.quick, self.folder = quick, folder
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if not self.is_gpu:
            torch.set_num_threads(1)  # as a worker's: the order of float sums depends on it
        find_device(self.device)  # with a worker's flags of torch: peers and fleet compute the same bits
        self.size: Size = SDXL if self.is_gpu else TOY
        self.figures: dict[str, float] = {}
        self.samples: dict[str, list[float]] = {}
        self.limits: dict[str, float] = {}
        self.notes: list[str] = []
        self.failures: list[str] = []
        self.open = ExitStack()  # what a run keeps open until its end
        self.experiment = ""  # the one at hand: its notes and failures begin with its name
        self.ends_at = float("inf")  # of the experiment at hand, by the monotonic clock
        self._kept: dict[str, Any] = {}

    @property
    def is_gpu(self) -> bool:
        """Whether times mean anything here."""
        return self.device.type == "cuda"

    @property
    def models(self) -> "Models":
        """The models on the device, made at first use."""
        from infra.bench.parts.gpu.models import make_models

        models: Models = self.kept("models", lambda: make_models(self.size, self.device))
        return models

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """What ``make`` returns, made once in a run."""
        if name not in self._kept:
            began = time.perf_counter()
            self._kept[name] = make()
            print(f"    {name} after {time.perf_counter() - began:.1f} s", flush=True)
        return self._kept[name]

    def figure(self, name: str, value: float, *, limit: float | None = None) -> float:
        """Note a figure, and what the hardware allows at best; returns it."""
        self.figures[name] = float(value)
        beside = ""
        if limit is not None:
            self.limits[name] = float(limit)
            beside = f" (limit {limit:.4g})"
        print(f"    {name} {value:.4g}{beside}", flush=True)
        return float(value)

    def median_of(self, name: str, samples: list[float], *, limit: float | None = None) -> float:
        """Note the median of samples, and keep them."""
        self.samples[name] = [float(sample) for sample in samples]
        return self.figure(name, median(samples), limit=limit)

    def note(self, sentence: str) -> None:
        """Note what was left out, or how something was measured."""
        sentence = self._with_experiment(sentence)
        self.notes.append(sentence)
        print(f"    {sentence}", flush=True)

    def check(self, is_equal: bool, what: str) -> bool:
        """Note a failure unless ``is_equal``; returns it. Figures of work that is not equal do not count."""
        if not is_equal:
            self.fail(what)
        return is_equal

    def fail(self, what: str) -> None:
        """Note what counts for nothing."""
        what = self._with_experiment(what)
        self.failures.append(what)
        print(f"    FAILED: {what}", flush=True)

    def _with_experiment(self, sentence: str) -> str:
        return sentence if sentence.startswith(self.experiment) else f"{self.experiment}: {sentence}"

    def needed(self, name: str) -> float:
        """A figure that an earlier experiment measured; raises `Skipped`."""
        if name not in self.figures:
            raise Skipped(f"{name} has not been measured: run its experiment before, or in the same run")
        return self.figures[name]

    def left_s(self) -> float:
        """Seconds that the experiment at hand may still take."""
        return self.ends_at - time.monotonic()

    def measured(self) -> Measured:
        """Everything so far. At toy size nothing is held against a target: the times mean nothing."""
        bounds = bounds_of(self.figures, self.limits) if self.is_gpu else {}
        return Measured(
            dict(self.figures),
            dict(self.samples),
            bounds,
            tuple(self.notes),
            tuple(self.failures),
            describe_card(self.device),
        )


def require(condition: bool, what: str) -> None:
    """Raise `CheckFailed` unless the work was what was meant."""
    if not condition:
        raise CheckFailed(what)
