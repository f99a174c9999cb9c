"""Work that a step leaves for later: it runs while ControlNet workers compute the next step."""

from collections.abc import Callable


class DeferredCalls:
    """Functions to call once the next step's request has been sent, in their order."""

    def __init__(self) -> None:
        self._functions: list[Callable[[], None]] = []

    def add(self, function: Callable[[], None]) -> None:
        """Call ``function`` at the next `run`."""
        self._functions.append(function)

    def run(self) -> None:
        """Call what was added since the last run; called after each request, and after the last step."""
        functions, self._functions = self._functions, []
        for function in functions:
            function()
