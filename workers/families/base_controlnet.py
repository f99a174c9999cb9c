"""The protocol of ControlNets: what the serving loop, and the UNet worker in its place, know of one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

from shared.catalog.entries import MemoryFormat
from workers.engines.base import Engine
from workers.engines.eager import EAGER
from workers.engines.selection import Engines
from workers.runtime.weights.hash_cache import HashWeights
from workers.runtime.weights.loaded import weight_bytes, weights_sha256
from workers.transport.protocol import UsedControlNet


class ControlNetForward(ABC, Iterator[tuple[int, Tensor]]):
    """A forward pass under way: iterating computes the residuals one by one, as `ControlNet.order` says.

    Each is ``(b, …)`` and not scaled yet; an engine may reuse its memory for the next forward of this
    ControlNet, so whoever keeps it scales or copies it. Whatever must run before the first one ran at
    construction.
    """

    @abstractmethod
    def select_rows(self, rows: Tensor) -> None:
        """Go on with some rows only; ``rows`` is a mask, ``(b,)`` of bool. For jobs that have moved on."""


class ControlNet(ABC):
    """One loaded ControlNet. Its forward has the bits of diffusers', in an order of its own."""

    #: What runs its stages: set once, when it is loaded.
    engines = Engines()
    #: Whether each residual is computed when it is asked for: then those that are not yet take no memory.
    is_on_demand = False
    #: Of its convolutions: set once, too.
    memory_format: MemoryFormat = "contiguous"

    def __init__(self, name: str, model: nn.Module, sha256: str | None = None) -> None:
        """``sha256``: `hash_controlnet` of the model, if it is known."""
        self.name = name
        self.model: Any = model
        self.sha256 = hash_controlnet(model, weights_sha256) if sha256 is None else sha256
        self.weight_bytes = weight_bytes([model])

    def used_with(self, engine: Engine) -> UsedControlNet:
        """What the receipt of a job says of it whose steps ``engine`` has run."""
        return UsedControlNet(sha256=self.sha256, engine=engine.name, memory_format=self.memory_format)

    @property
    @abstractmethod
    def order(self) -> tuple[int, ...]:
        """The residuals that its base models read, in the order in which they need them.

        The numbers are the family's own (`FamilyFacts.control_plan`); what no base model reads is left out.
        """

    def check(self, position: int, *, guess_mode: bool) -> None:  # noqa: B027 - most serve any job
        """Raise `ControlNetFailed` where diffusers would compute a job otherwise than it was accepted.

        ``position`` is that of the ControlNet in the job.
        """

    def with_base(self, parts: Mapping[str, nn.Module]) -> Self:
        """The same ControlNet, which computes with layers of a loaded base model, of these ``parts``.

        For families of `FamilyFacts.controlnet_layers`: LoRAs may have patched them. Others use none.
        """
        return self

    def at_scale(self, scale: float) -> Self:
        """The same ControlNet for steps of a ``conditioning_scale``, if that counts within its forward."""
        return self

    @abstractmethod
    def embed(self, control: Tensor, batch: int) -> Tensor:
        """What `BaseModel.control_inputs` gave, as the forward adds it to ``batch`` rows: ``(batch, …)``.

        Computed once a job and number of rows, and cached by the hash of ``control``.
        """

    @abstractmethod
    def prepare(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """`Conditioning.controlnet_inputs` as the forward takes them; rows first. Once a prompt."""

    @abstractmethod
    def forward(
        self,
        x: Tensor,
        t: Tensor,
        prepared: Mapping[str, Tensor],
        control: Tensor,
        mode: int | None = None,
        engine: Engine = EAGER,
    ) -> ControlNetForward:
        """Begin a forward pass.

        ``x`` is what `BaseModel.controlnet_latents` gave, ``(b, …)``; ``t`` has a timestep a row, ``(b,)``;
        ``prepared`` and ``control`` come from `prepare` and `embed`; ``mode`` is the job's ``control_mode``.
        Rows may be of several jobs, if no row's result depends on another's. Raises `ControlNetFailed`.
        """

    def warm_up(self, size: tuple[int, int], rows: int) -> None:  # noqa: B027 - a family may have none
        """Run a forward as a job of ``rows`` rows does, for images of ``size``, (width, height) in px."""

    @abstractmethod
    def scale(self, residual: Tensor, index: int, scale: float, *, guess_mode: bool) -> Tensor:
        """The residual ``index`` of one job's rows as its base model adds it."""


@dataclass(frozen=True, kw_only=True)
class ControlNetSource:
    """A ControlNet that is to be loaded."""

    name: str
    path: str  # a diffusers folder or a single file on this machine, or a hub id
    dtype: torch.dtype
    device: str
    variant: str | None = None
    revision: Mapping[str, str] = field(default_factory=dict)  # of a hub id, as diffusers takes it
    memory_format: MemoryFormat = "contiguous"
    config: str | None = None  # of a single file: a folder with its config
    base: str | None = None  # where its first base model lies: some ControlNets need layers of it
    base_config: str | None = None  # the folder with the base's configs, if that is a single file
    #: For `hash_controlnet`, before the model moves to the device.
    hash_weights: HashWeights = weights_sha256


def hash_controlnet(model: nn.Module, hash_weights: HashWeights) -> str:
    """The hash of a ControlNet, as receipts name it."""
    return hash_weights({"controlnet": model})
