"""A plot per part, from its result alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from infra.bench.report import Result


def plot(result: Result, path: Path) -> None:
    """Write the part's plot to a PNG."""
    figure = Figure(figsize=(12, 4.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    PLOTS[result.part](result, *figure.subplots(1, 2))
    figure.suptitle(f"{result.part} ({result.form}), commit {result.commit}")
    figure.savefig(path)


def _plot_api(result: Result, left: Any, right: Any) -> None:
    for name in ("submit_ms", "read_ms"):
        left.ecdf(result.samples[name], label=name.removesuffix("_ms"))
    left.axvline(result.targets["submit_ms_p99"].at_most, linestyle=":", label="target of submit's p99")
    left.set(xscale="log", xlabel="ms", ylabel="share of requests", title="latency, workers busy")
    left.legend()
    prefix = "idle_cpu_percent "
    idle = {n.removeprefix(prefix): v[0] for n, v in result.samples.items() if n.startswith(prefix)}
    right.barh(list(idle), list(idle.values()))
    right.set(xlabel="% of one core", title="CPU at rest")


def _plot_overhead(result: Result, left: Any, right: Any) -> None:
    for name, label in (("process_ms", "in one process"), ("fleet_ms", "in the fleet")):
        left.plot(result.samples[name], ".-", label=label)
    left.set(xlabel="pair", ylabel="ms", title="the same picture")
    left.set_ylim(bottom=0)
    left.legend()
    right.ecdf(result.samples["overhead_ms"])
    right.axvline(result.targets["overhead_ms_p50"].at_most, linestyle=":", label="target of the median")
    right.set(xlabel="ms", ylabel="share of pairs", title="fleet minus one process")
    right.legend()


PLOTS: dict[str, Callable[[Result, Any, Any], None]] = {"api": _plot_api, "overhead": _plot_overhead}
