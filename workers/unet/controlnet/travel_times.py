"""Measures how long the residuals of one step travel: how long they are waited for once they are computed."""

from collections import defaultdict

from workers.transport.protocol import StepResponse


class TravelTimes:
    """The arrivals of one step's residuals. Times are seconds since the epoch.

    It compares clocks of two hosts, as the timeline does: they must agree to less than a residual travels.
    """

    def __init__(self) -> None:
        self._arrived: dict[int, list[tuple[StepResponse, float]]] = {}  # by the residual's index
        self._travel_s: defaultdict[tuple[int, ...], float] = defaultdict(float)

    def arrived(self, response: StepResponse, at_s: float) -> None:
        """A residual is here."""
        self._arrived.setdefault(response.index, []).append((response, at_s))

    def waited(self, index: int, since_s: float) -> None:
        """The decoder has asked for residual ``index`` at ``since_s``, and goes on now that all are here."""
        for response, at_s in self._arrived.pop(index, ()):
            waited_s = at_s - max(since_s, response.end_s)
            self._travel_s[tuple(response.positions)] += max(waited_s, 0.0)

    def travel_s(self, positions: tuple[int, ...]) -> float:
        """How long the decoder has waited for computed residuals of these ControlNets, in all."""
        return self._travel_s[positions]
