"""Puts results of several runs on one card together: ``python -m infra.bench.parts.gpu.merge FILE...``.

Runs on machines that are lent for minutes leave a file each. The later one counts where two have measured the
same; what is written is as if one run had measured it all: ``gpu.json``, ``gpu.md``, ``gpu.png`` and, as
``gpu-targets.md``, the table of all targets.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from infra.bench.harness.report import FOLDER, CheckFailed, Result, write_result
from infra.bench.parts.gpu.gpu import plot
from infra.bench.parts.gpu.targets import targets_table


def merge(results: Sequence[Result]) -> Result:
    """One result; raises `CheckFailed` if they come from different cards or forms."""
    last = results[-1]
    for result in results:
        if result.machine.get("gpu") != last.machine.get("gpu") or result.form != last.form:
            raise CheckFailed(
                f"results of {result.machine.get('gpu')} ({result.form}) and of "
                f"{last.machine.get('gpu')} ({last.form}) do not belong together"
            )
    commits = list(dict.fromkeys(result.commit for result in results))
    return last.model_copy(
        update={
            "commit": ", ".join(commits),
            "figures": {name: value for result in results for name, value in result.figures.items()},
            "samples": {name: values for result in results for name, values in result.samples.items()},
            "targets": {name: target for result in results for name, target in result.targets.items()},
            "notes": list(dict.fromkeys(note for result in results for note in result.notes)),
        }
    )


def describe_targets(result: Result) -> str:
    """The table of all targets, for the documentation."""
    limits = {name: target.limit for name, target in result.targets.items() if target.limit is not None}
    return targets_table(result.figures, limits)


def main(paths: Sequence[str], folder: Path = FOLDER) -> None:
    """Merge these files and write what comes of it."""
    result = merge([Result.model_validate_json(Path(path).read_text()) for path in paths])
    write_result(result, folder)
    (folder / "gpu-targets.md").write_text(describe_targets(result))
    try:
        from infra.bench.harness import plots
    except ModuleNotFoundError as error:  # a bare machine may merge, too
        print(f"no plot: {error.name} is not installed")
    else:
        plots.plot(result, plot, folder / "gpu.png")
    print(describe_targets(result))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CheckFailed as error:
        sys.exit(str(error))
