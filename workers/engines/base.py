"""The protocol of engines: how the stages of a model's forward are run.

A *stage* is a part of a forward that never waits: a pure function of tensors, for instance a decoder block.
The driver of a forward calls the stages one after the other, and waits for ControlNets between them. So an
engine may capture a stage as a CUDA graph or compile it, and knows nothing of what the driver waits for.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import Protocol

from torch import Tensor

#: Arguments of a stage: of each the shape, the type and the layout decide how it is captured or compiled.
Tensors = Sequence[Tensor | None]


class Stage(Hashable, Protocol):
    """A pure function of tensors and of a module's weights, which change in place only.

    It writes to none of its inputs, and what it returns does not share memory with them. Equal stages compute
    alike.
    """

    def __call__(self, inputs: Tensors, constants: Tensors) -> tuple[Tensor, ...]:
        """``constants`` are inputs that stay over the steps of a job, as what a prompt became does.

        Nobody ever writes to the tensor of a constant: another object is another value.
        """


class ForwardPass(ABC):
    """One forward under way; made by `Engine.begin`, and used by one thread.

    What a stage returns is valid until the next forward of the same engine begins. Only `keep` makes it last.
    """

    @abstractmethod
    def __call__(self, stage: Stage, inputs: Tensors, constants: Tensors = ()) -> tuple[Tensor, ...]:
        """Run a stage, as part of this forward."""

    @abstractmethod
    def keep(self, output: Tensor) -> Tensor:
        """An output of a stage such that no later forward writes to it."""

    @abstractmethod
    def end(self) -> None:
        """The forward is over, also when it was given up. May be called again."""


class Engine(ABC):
    """Runs the stages of one model, or of one ControlNet; several forwards may be under way."""

    #: As catalogs, receipts and ``/v1/fleet`` call it.
    name: str
    #: Whether its results are those of torch's own kernels, bit for bit.
    has_eager_bits: bool
    #: Whether a run costs so much beside the computation that small stages are better run as one.
    joins_stages: bool

    @abstractmethod
    def begin(self) -> ForwardPass:
        """Begin a forward. Its stages are run in one order, that of their model."""

    @property
    def fallback_reason(self) -> str | None:
        """Why the engine runs everything eagerly, contrary to its catalog entry; ``None``: it does not."""
        return None

    @property
    def prepared_stages(self) -> int:
        """How many layouts of stages have been captured or compiled, for people who wait for that."""
        return 0

    @property
    def nbytes(self) -> int:
        """Memory of the device that it holds between forwards."""
        return 0

    def release(self) -> None:  # noqa: B027 - not every engine holds something
        """Let go of everything that can be made again; for a device that is full."""
