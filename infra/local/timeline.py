"""A job's timeline as a Gantt plot: a lane per worker and kind of time."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

WIDTH_PX, DPI = 1600, 100
ROW_PX, MARGINS_PX = 46, 200
BAR = 0.82  # of a row's height
COLOURS = (
    "#4c78a8", "#f58518", "#54a24b", "#e45756", "#b279a2", "#eeca3b", "#72b7b2", "#9d755d",
    "#ff9da6", "#595959", "#1f3a6e", "#a6d854", "#8c1c13", "#c9b2e0", "#17a2d8", "#bab0ac",
)  # fmt: skip
#: A span of the timeline, as REST returns it: name, start_s, end_s, worker, counts, residual.
Span = dict[str, Any]


def plot_timeline(job: dict[str, Any], path: Path) -> None:
    """Write the plot of a job, as ``GET /v1/jobs/{id}`` returns it, to a PNG 1600 pixels wide."""
    rows = [(lane, row) for lane, spans in by_lane(job["timeline"]).items() for row in side_by_side(spans)]
    names = list(dict.fromkeys(span["name"] for span in job["timeline"]))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    height_px = MARGINS_PX + ROW_PX * max(1, len(rows))
    figure = Figure(figsize=(WIDTH_PX / DPI, height_px / DPI), dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for y, (_, spans) in enumerate(rows):
        axes.broken_barh(
            [(span["start_s"], span["end_s"] - span["start_s"]) for span in spans],
            (y - BAR / 2, BAR),
            facecolors=[colours[span["name"]] for span in spans],
            edgecolor="white",
            linewidth=0.4,
        )
    _label(axes, [lane for lane, _ in rows])
    axes.set_xlabel("seconds since the job was accepted")
    axes.set_title(f"job {job['id']}: {job['status']}", loc="left")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    handles = [Patch(color=colour, label=describe(name, job["timeline"])) for name, colour in colours.items()]
    if handles:
        _add_legend(figure, canvas, handles)
    figure.savefig(path)


def by_lane(timeline: Sequence[Span]) -> dict[str, list[Span]]:
    """The spans of each lane by their start; a worker's lanes stand together, workers as they began."""
    found: dict[str, list[Span]] = {}
    spans = sorted(timeline, key=lambda span: float(span["start_s"]))
    for worker in dict.fromkeys(span["worker"] for span in spans):
        for kind in ("", " waits", " loads"):
            lane = [span for span in spans if span["worker"] == worker and _kind(span["name"]) == kind]
            if lane:
                found[worker + kind] = lane
    return found


def side_by_side(spans: Sequence[Span]) -> list[list[Span]]:
    """Rows in which no two spans overlap; each span, taken by its start, goes into the first with space."""
    rows: list[list[Span]] = []
    for span in spans:
        for row in rows:
            if row[-1]["end_s"] <= span["start_s"]:
                row.append(span)
                break
        else:
            rows.append([span])
    return rows


def describe(name: str, timeline: Sequence[Span]) -> str:
    """The name of spans, what was counted in them, and which of a step's residuals were waited for."""
    counts: Counter[str] = Counter()
    for span in timeline:
        if span["name"] != name:
            continue
        counts.update(span["counts"])
        if span["residual"] is not None:
            counts["first of a step" if span["residual"] == 0 else "later ones"] += 1
    counted = ", ".join(f"{what.replace('_', ' ')} {count:,}" for what, count in counts.items())
    return f"{name} ({counted})" if counted else name


def _kind(name: str) -> str:
    """Waiting happens inside other phases, loading in parallel to them: each has a lane of its own."""
    if name.startswith("wait"):
        return " waits"
    return " loads" if name.startswith("lora ") else ""


def _add_legend(figure: Figure, canvas: FigureCanvasAgg, handles: list[Patch]) -> None:
    """Below the plot, in as many columns as fit: labels may be long."""
    for columns in range(min(len(handles), 8), 0, -1):
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
        if legend.get_window_extent(canvas.get_renderer()).width <= WIDTH_PX or columns == 1:
            return
        legend.remove()


def _label(axes: Any, lanes: Sequence[str]) -> None:
    """Name each lane at its first row, without its host, and draw a line above it."""
    firsts = [y for y, lane in enumerate(lanes) if y == 0 or lane != lanes[y - 1]]
    axes.set_yticks(firsts, [re.sub(r"@\S*", "", lanes[y]) for y in firsts])
    for y in firsts[1:]:
        axes.axhline(y - 0.5, color="#cccccc", linewidth=0.8)
    axes.set_ylim(max(1, len(lanes)) - 0.5, -0.5)
