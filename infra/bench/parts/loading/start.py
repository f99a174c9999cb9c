"""Part ``start``: what it takes to load a model of real size: memory and time, from scratch to ready.

Models have random weights in the real architectures, made in a folder that is removed afterwards. Each
load is a process of its own, as a worker's start is.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from infra.bench.harness.report import FOLDER, Measured, Result

#: Model: the dtype it is stored and loaded in. SDXL in float32 would take 14 GB twice over.
DTYPES = {"sd15": "float32", "sdxl": "bfloat16", "flux": "bfloat16"}
#: Of Flux.1-dev's transformer, millions: of ``flux`` there are fewer blocks.
FLUX_PARAMETERS_M = 11_901.4
LOADS, QUICK_LOADS = 3, 1


def measure(quick: bool) -> Measured:
    """Load each model in fresh processes; the quick form only the small one, once."""
    figures: dict[str, float] = {}
    samples: dict[str, list[float]] = {}
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in ("sd15",) if quick else DTYPES:
        with TemporaryDirectory(dir=FOLDER, prefix=f"start-{name}-") as folder:
            _child("make", name, folder)
            loads = [_timed_load(name, folder) for _ in range(QUICK_LOADS if quick else LOADS)]
        for figure in loads[0]:
            samples[f"{figure}_{name}"] = [load[figure] for load in loads]
            figures[f"{figure}_{name}"] = median(samples[f"{figure}_{name}"])
    if "parameters_m_flux" in figures:
        figures["share_of_flux"] = figures["parameters_m_flux"] / FLUX_PARAMETERS_M
    return Measured(figures, samples, {})


def plot(result: Result, left: Any, right: Any) -> None:
    """Seconds and gigabytes of each model."""
    names = [name for name in DTYPES if f"start_s_{name}" in result.figures]
    for axes, title, unit, keys in (
        (left, "from spawn to ready", "s", ("start_s", "load_s")),
        (right, "memory", "GB", ("peak_gb", "weights_gb")),
    ):
        for i, key in enumerate(keys):
            heights = [result.figures[f"{key}_{name}"] for name in names]
            axes.bar([x + 0.4 * i for x in range(len(names))], heights, 0.4, label=key)
        axes.set_xticks([x + 0.2 for x in range(len(names))], names)
        axes.set_title(title)
        axes.set_ylabel(unit)
        axes.legend()


def _timed_load(name: str, folder: str) -> Mapping[str, float]:
    start = time.monotonic()
    loaded: dict[str, float] = json.loads(_child("load", name, folder))
    return {"start_s": time.monotonic() - start, **loaded}


def _child(verb: str, name: str, folder: str) -> str:
    words = [sys.executable, "-m", "infra.bench.parts.loading.start", verb, name, folder]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]


def _load(name: str, folder: Path) -> None:
    from workers.families.load_base_model import load_model

    start = time.monotonic()
    model = load_model(name, str(folder), DTYPES[name], "cpu")
    loaded = {
        "load_s": time.monotonic() - start,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "weights_gb": model.weight_bytes / 1e9,
        "parameters_m": sum(weight.numel() for weight in model.parts[model.facts.denoiser].parameters())
        / 1e6,
    }
    print(json.dumps(loaded))


def _make(name: str, folder: Path) -> None:
    from infra.bench.workloads.real_sizes import make_pipeline

    make_pipeline(name, DTYPES[name]).save_pretrained(folder)
    print(name)


if __name__ == "__main__":
    {"make": _make, "load": _load}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
