"""ControlNets of transformers: each residual leaves as soon as its block has been computed.

diffusers runs all blocks first and the output layers after that; to run each block's output layer right after
the block changes no bit.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from shared.errors import ModelFailed
from shared.families.base import Config, FamilyFacts
from workers.engines.base import Engine
from workers.engines.eager import EAGER
from workers.families.base_controlnet import ControlNet, ControlNetForward
from workers.runtime.weights.loaded import first_parameter


class ControlNetInputs(NamedTuple):
    """What a forward of a ControlNet is given; everything but ``mode`` has a row for each row of the step."""

    x: Tensor  # (b, …), the base model's latents
    t: Tensor  # (b,), of float32
    prepared: Mapping[str, Tensor]  # of `ControlNet.prepare`
    control: Tensor  # (b, …), of `ControlNet.embed`
    mode: int | None  # the job's ``control_mode``

    def select(self, rows: Tensor) -> "ControlNetInputs":
        """Those rows alone; ``rows`` is a mask, ``(b,)`` of bool."""
        prepared = {name: tensor[rows] for name, tensor in self.prepared.items()}
        return ControlNetInputs(self.x[rows], self.t[rows], prepared, self.control[rows], self.mode)


class TransformerControlNet(ControlNet):
    """See `ControlNet`; it computes only the residuals that its base model reads."""

    is_on_demand = True

    def __init__(
        self, name: str, model: nn.Module, facts: FamilyFacts, base: Config, sha256: str | None = None
    ) -> None:
        """``base`` is the config of its first base model's denoiser."""
        super().__init__(name, model, sha256)
        self._order = facts.control_plan(self.model.config, base).wanted
        #: The same, to ask whether one is among them.
        self.wanted = frozenset(self._order)
        if not self._order:
            raise ModelFailed(f"ControlNet {name!r} has no block whose residual its base model reads")

    @property
    def order(self) -> tuple[int, ...]:
        """See `ControlNet`."""
        return self._order

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return first_parameter(self.model).device

    @property
    def dtype(self) -> torch.dtype:
        """In what it computes."""
        return first_parameter(self.model).dtype

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        prepared: Mapping[str, Tensor],
        control: Tensor,
        mode: int | None = None,
        engine: Engine = EAGER,
    ) -> "TransformerControlNetForward":
        """See `ControlNet`; nothing is computed before the first residual is asked for."""
        inputs = ControlNetInputs(x.to(self.device, self.dtype), t.to(self.device), prepared, control, mode)
        self.check_mode(mode)
        return TransformerControlNetForward(self, inputs)

    def check_mode(self, mode: int | None) -> None:
        """Raise `ControlNetFailed` if it cannot be given this ``control_mode``."""

    @abstractmethod
    def residuals(self, inputs: ControlNetInputs) -> Iterator[tuple[int, Tensor]]:
        """Each residual of `order`, not scaled, as soon as it exists."""

    def scale(self, residual: Tensor, index: int, scale: float, *, guess_mode: bool) -> Tensor:
        """See `ControlNet`; transformers know no guess mode."""
        return residual * scale


class TransformerControlNetForward(ControlNetForward):
    """See `ControlNetForward`; rows can be dropped until the first residual is asked for."""

    def __init__(self, controlnet: TransformerControlNet, inputs: ControlNetInputs) -> None:
        self._controlnet, self._inputs = controlnet, inputs
        self._residuals: Iterator[tuple[int, Tensor]] | None = None

    @torch.inference_mode()
    def __next__(self) -> tuple[int, Tensor]:
        if self._residuals is None:
            self._residuals = self._controlnet.residuals(self._inputs)
        return next(self._residuals)

    @torch.inference_mode()
    def select_rows(self, rows: Tensor) -> None:
        """See `ControlNetForward`."""
        assert self._residuals is None, "rows are dropped before the first residual"
        self._inputs = self._inputs.select(rows.to(self._inputs.x.device))
