"""The default engine: stages are called as they are, kernel by kernel."""

from torch import Tensor

from workers.engines.base import Engine, ForwardPass, Stage, Tensors


class EagerForward(ForwardPass):
    """See `ForwardPass`: every output is a tensor of its own."""

    def __call__(self, stage: Stage, inputs: Tensors, constants: Tensors = ()) -> tuple[Tensor, ...]:
        """See `ForwardPass`."""
        return stage(inputs, constants)

    def keep(self, output: Tensor) -> Tensor:
        """See `ForwardPass`."""
        return output

    def end(self) -> None:
        """See `ForwardPass`."""


class EagerEngine(Engine):
    """See `Engine`."""

    name = "eager"
    has_eager_bits = True
    joins_stages = False

    def begin(self) -> ForwardPass:
        """See `Engine`."""
        return EagerForward()


#: It holds nothing, so one is enough.
EAGER = EagerEngine()
