"""What can wait until the next request has left: the ControlNets begin before the last step is written
down."""

from collections.abc import Callable


class Deferred:
    """Chores of the step that is over, done while the next one is computed elsewhere."""

    def __init__(self) -> None:
        self._chores: list[Callable[[], None]] = []

    def add(self, chore: Callable[[], None]) -> None:
        """Do this after the next request has left."""
        self._chores.append(chore)

    def run(self) -> None:
        """The request has left, or none will."""
        chores, self._chores = self._chores, []
        for chore in chores:
            chore()
