"""A forward of a base model that stops where it needs a ControlNet's residual, and what completes it."""

from collections.abc import Callable, Generator

from torch import Tensor

#: A forward of a base model that asks for residuals when it needs them. It yields the index of the residual
#: that it needs next and is sent that residual, or None where no ControlNet guides the step; it returns the
#: prediction, of the shape of the latents. It yields at least once, whether ControlNets guide it or not. An
#: index is yielded once, in the order of `ControlPlan.wanted`; who needs a residual in several places keeps
#: it.
StagedForward = Generator[int, Tensor | None, Tensor]
#: Gives the residual of an index; may wait for it.
Residuals = Callable[[int], Tensor]


def run_to_end(forward: StagedForward, index: int, residuals: Residuals | None) -> Tensor:
    """Run a forward that has yielded ``index`` to its end; returns the prediction."""
    try:
        while True:
            index = forward.send(None if residuals is None else residuals(index))
    except StopIteration as end:
        prediction: Tensor = end.value
        return prediction
