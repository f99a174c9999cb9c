"""The plot of a chaos run: waiting and ended jobs over time with every fault, and the workers' memory."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from infra.bench.harness.plots import save_plot
from infra.chaos.report import Run

COLOURS = {"kill": "C3", "sigterm": "C1"}


def plot_run(run: Run, path: Path) -> None:
    """Write the plot to a PNG."""
    title = f"{run.setup.title}: {len(run.violations)} violations"
    save_plot(lambda left, right: _draw(run, left, right), path, title)


def _draw(run: Run, left: Any, right: Any) -> None:
    times = [sample.at_s for sample in run.samples]
    left.plot(times, [sample.ended for sample in run.samples], color="C0", label="ended")
    left.set(xlabel="s", ylabel="jobs ended", title="jobs, and faults")
    queue = left.twinx()
    queue.plot(times, [sample.jobs.get("queued", 0) for sample in run.samples], color="C2", alpha=0.7)
    queue.set(ylabel="jobs waiting (green)", ylim=(0, None))
    named = set()
    for at_s, fault in run.injected:
        label = None if fault in named else fault
        named.add(fault)
        left.axvline(at_s, color=COLOURS.get(fault, "C7"), alpha=0.6, linewidth=1, label=label)
    left.legend(loc="upper left")
    lines: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for sample in run.samples:
        for process in sample.memory:
            lines[process.name, process.pid].append((sample.at_s, process.rss_mb))
    names = sorted({name for name, _ in lines})
    labelled = set()
    for (name, _), points in sorted(lines.items()):
        label = None if name in labelled else name
        labelled.add(name)
        right.plot(*zip(*points, strict=True), color=f"C{names.index(name) % 10}", label=label)
    right.set(xlabel="s", ylabel="MB", ylim=(0, None), title="memory of each process")
    right.legend(loc="upper right", fontsize="small")
