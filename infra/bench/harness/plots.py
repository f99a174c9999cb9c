"""A plot per part, from its result alone: two panels, which the part fills."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from infra.bench.harness.report import Result


class Draw(Protocol):
    """What a part does to its two panels (matplotlib axes)."""

    def __call__(self, result: Result, left: Any, right: Any) -> None:
        """Draw the result."""


def plot(result: Result, draw: Draw, path: Path) -> None:
    """Write a part's plot to a PNG."""
    title = f"{result.part} ({result.form}), commit {result.commit}"
    save_plot(lambda left, right: draw(result, left, right), path, title)


def save_plot(draw: Callable[[Any, Any], None], path: Path, title: str) -> None:
    """Write two panels (matplotlib axes) to a PNG."""
    figure = Figure(figsize=(12, 4.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    draw(*figure.subplots(1, 2))
    figure.suptitle(title)
    figure.savefig(path)
