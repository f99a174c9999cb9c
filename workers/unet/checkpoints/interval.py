"""How often a checkpoint is made: rarely enough that they cost under 1 % of the loop."""

#: The share of a loop's time that checkpoints may cost.
SHARE = 0.01
#: How much of an earlier cost is forgotten with each new one.
_FORGET = 0.5


class CheckpointCosts:
    """What a checkpoint costs on this worker, and so how long the loop computes between two.

    With steps of ``step_s`` that is one in ``k = ceil(interval_s / step_s)`` steps.
    """

    def __init__(self, every_s: float) -> None:
        """``every_s``: as often at most, however little they cost; 0: never."""
        self._every_s = every_s
        self._cost_s = 0.0

    @property
    def are_stored(self) -> bool:
        """Whether checkpoints are made at all."""
        return self._every_s > 0

    @property
    def interval_s(self) -> float:
        """Seconds from one checkpoint to the next."""
        return max(self._every_s, self._cost_s / SHARE)

    def record(self, loop_s: float, thread_s: float) -> None:
        """One checkpoint has taken the loop ``loop_s``, and another thread ``thread_s`` of processor time.

        The second counts in full: where all processors compute, the loop waits as long.
        """
        cost_s = loop_s + thread_s
        self._cost_s += (cost_s - self._cost_s) * (_FORGET if self._cost_s else 1.0)
