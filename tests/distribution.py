"""How pytest-xdist spreads tests over processes: by file or folder, one fleet at a time, long units first.

A fleet is a dozen processes that take half a minute to start: two of them slow each other down. The files of
a folder whose tests share a running API or fleet go to one process, which starts it once.
"""

from collections import Counter
from collections.abc import Iterable

import pytest
from xdist.scheduler.loadfile import LoadFileScheduling
from xdist.workermanage import WorkerController

from tests.tiers import TESTS

FLEETS = f"{TESTS.name}/fleet"
#: Folders that are one unit of work: a fixture of their ``conftest.py`` starts what their files share.
SHARED = (FLEETS, f"{TESTS.name}/console", f"{TESTS.name}/api/compat")
#: Of these folders' files, those with a fleet of their own.
APART = (f"{FLEETS}/apart/", f"{FLEETS}/faults/")
#: Seconds of the longest units, of a whole run on two cores.
LONG = {
    FLEETS: 947,
    "tests/parity/test_parity.py": 624,
    "tests/console": 535,
    f"{FLEETS}/apart/test_transformers.py": 361,
    "tests/infra/bench/parts/gpu/test_gpu.py": 242,
    f"{FLEETS}/faults/test_device_faults.py": 201,
    "tests/workers/families/transformer/test_loading.py": 164,
    f"{FLEETS}/apart/test_elastic.py": 154,
    "tests/workers/families/flux/test_model.py": 135,
    "tests/workers/unet/denoising/test_denoise.py": 128,
    "tests/api/compat": 127,
    "tests/workers/families/sd3/test_model.py": 84,
    "tests/api/test_wsgi.py": 77,
    "tests/workers/unet/embeddings/test_encode_for_job.py": 76,
    "tests/workers/unet/cfg_parallel/test_branches.py": 76,
    "tests/workers/lora/test_patch.py": 74,
    "tests/workers/families/z_image/test_model.py": 61,
    "tests/workers/families/qwen_image/test_forward.py": 59,
    "tests/infra/bench/parts/scheduling/test_fairness.py": 58,
    "tests/workers/families/unet/test_forward_graphs.py": 52,
    "tests/workers/unet/test_job.py": 51,
    "tests/workers/unet/test_lora_loading.py": 48,
    "tests/workers/families/test_load_base_model.py": 47,
    "tests/workers/unet/test_graph_jobs.py": 46,
    "tests/workers/unet/controlnet/test_backends.py": 42,
    "tests/workers/lora/formats/test_formats.py": 41,
    "tests/workers/unet/controlnet/claims/test_requester_claims.py": 41,
}
#: Of all others.
TEST_S = 0.2
#: Units that have taken so long are told at the end of a run: what `LONG` is to say.
TOLD_S = 10.0


def unit_of(nodeid: str) -> str:
    """The unit of work that a test belongs to: its file, or the folder of `SHARED` that it lies in."""
    if not nodeid.startswith(APART):
        for folder in SHARED:
            if nodeid.startswith(f"{folder}/"):
                return folder
    return nodeid.split("::", 1)[0]


def longest_units(reports: Iterable[pytest.TestReport]) -> list[tuple[str, float]]:
    """Units that took `TOLD_S` or more, with their seconds; the longest first."""
    seconds = Counter[str]()
    for report in reports:
        seconds[unit_of(report.nodeid)] += report.duration  # type: ignore[assignment]
    return [(unit, took_s) for unit, took_s in seconds.most_common() if took_s >= TOLD_S]


class FilesAndFleets(LoadFileScheduling):
    """One unit of work for each file or folder of `SHARED`; the longest is begun first.

    A unit with a fleet is begun beside another one only when nothing else is left.
    """

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        has_fleet = any(self._runs_fleet(other) for other in self.nodes if other is not node)
        apart = [unit for unit in self.workqueue if not (has_fleet and unit.startswith(FLEETS))]
        longest = max(apart or self.workqueue, key=self._expected_s)
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)

    def _runs_fleet(self, node: WorkerController) -> bool:
        units = self.assigned_work[node].items()
        return any(unit.startswith(FLEETS) and not all(tests.values()) for unit, tests in units)

    def _expected_s(self, unit: str) -> float:
        return max(LONG.get(unit, 0), TEST_S * len(self.workqueue[unit]))
