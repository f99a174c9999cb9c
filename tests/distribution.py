"""How pytest-xdist spreads tests over processes: by file, and all that share a fleet in one process.

A fleet is a dozen processes that take half a minute to start, and it runs until its process has no more
tests: two of them slow each other down.
"""

from xdist.scheduler.loadfile import LoadFileScheduling

from tests.tiers import TESTS

#: Files right in this folder use the fleet of its ``conftest.py``.
SHARED_FLEET = f"{TESTS.name}/fleet"


class FilesAndFleets(LoadFileScheduling):
    """One unit of work for each file, and one for all that use the same fleet."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        folder = file.rpartition("/")[0]
        return folder if folder == SHARED_FLEET else file
