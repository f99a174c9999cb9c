"""How pytest-xdist spreads tests over processes: by file, real fleets in one process, long units first.

A fleet is a dozen processes that take half a minute to start, and it runs until its process has no more
tests: two of them slow each other down.
"""

from xdist.scheduler.loadfile import LoadFileScheduling
from xdist.workermanage import WorkerController

from tests.tiers import TESTS

#: All files in this folder are one unit of work: those right in it use the fleet of its ``conftest.py``.
FLEETS = f"{TESTS.name}/fleet"
#: Seconds of units that take long for the number of their tests, on an idle machine.
LONG = {
    FLEETS: 400,
    "tests/parity/test_parity.py": 150,
    "tests/infra/bench/parts/gpu/test_gpu.py": 40,
    "tests/workers/families/sd3/test_model.py": 40,
    "tests/workers/families/flux/test_model.py": 50,
    "tests/workers/families/flux/test_split.py": 30,
    "tests/console/test_gallery.py": 25,
    "tests/console/test_generate.py": 25,
    "tests/console/test_job.py": 20,
    "tests/console/test_frame.py": 20,
    "tests/workers/unet/cfg_parallel/test_follower_search.py": 20,
    "tests/workers/unet/controlnet/claims/test_overdue_steps.py": 20,
    "tests/workers/unet/embeddings/test_encode_for_job.py": 20,
    "tests/test_architecture.py": 15,
    "tests/workers/engines/test_compiled.py": 15,
    "tests/workers/runtime/test_process.py": 15,
    "tests/api/test_wsgi.py": 15,
    "tests/fuzz/test_openapi.py": 15,
    "tests/shared/scheduling/test_release_machine.py": 10,
}
#: Of all others.
TEST_S = 0.2


class FilesAndFleets(LoadFileScheduling):
    """One unit of work for each file, and one for all that start fleets; the longest is begun first."""

    def _split_scope(self, nodeid: str) -> str:
        return FLEETS if nodeid.startswith(f"{FLEETS}/") else super()._split_scope(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        longest = max(self.workqueue, key=self._expected_s)
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)

    def _expected_s(self, unit: str) -> float:
        return max(LONG.get(unit, 0), TEST_S * len(self.workqueue[unit]))
