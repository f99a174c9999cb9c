"""A ControlNet-Union: one ControlNet for many kinds of control image; the job's ``control_mode`` says which.

The calls are those of ``diffusers.ControlNetUnionModel.forward`` (0.42) for one control image. Its
transformer attends across the rows of a batch (``nn.MultiheadAttention`` that takes the first dimension for
the sequence): so diffusers computes it, and so must we, which is why its steps are neither split nor batched.
"""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from shared.errors import ControlNetFailed
from workers.families.unet.controlnet import UNetControlNet


class UNetControlNetUnion(UNetControlNet):
    """Several kinds of control in one ControlNet; its ``embed`` is the ordinary one."""

    warm_up_mode = 0

    @cached_property
    def _kinds(self) -> dict[int, Tensor]:
        return {}

    def _kind(self, mode: int | None) -> Tensor:
        """One for the kind of ``mode``, zero for all others: ``(kinds,)``, on the device."""
        known = self._known(mode)
        if known not in self._kinds:
            kinds = torch.zeros(self.model.config.num_control_type, dtype=torch.float32)
            kinds[known] = 1
            self._kinds[known] = kinds.to(self.device, self.dtype)
        return self._kinds[known]

    def embed_time(self, t: Tensor, rows: int, kind: Tensor | None) -> Tensor:
        """See `UNetControlNet`."""
        assert kind is not None
        repeated = kind.repeat(rows, 1)
        projected = self.model.control_type_proj(repeated.flatten()).reshape(rows, -1).to(self.dtype)
        time: Tensor = super().embed_time(t, rows, None) + self.model.control_add_embedding(projected)
        return time

    def enter(self, x: Tensor, control: Tensor, mode: int | None) -> Tensor:
        """Add the control image to the latents, weighted by what a transformer makes of both."""
        controlnet: Any = self.model
        x = controlnet.conv_in(x)
        task = torch.mean(control, dim=(2, 3)) + controlnet.task_embedding[self._known(mode)]
        seen = torch.cat([task.unsqueeze(1), torch.mean(x, dim=(2, 3)).unsqueeze(1)], dim=1)
        for layer in controlnet.transformer_layes:
            seen = layer(seen)
        alpha = controlnet.spatial_ch_projs(seen[:, 0]).unsqueeze(-1).unsqueeze(-1)
        entered: Tensor = x + (x * 0.0 + (control + alpha))  # diffusers' sum, term by term
        return entered

    def _known(self, mode: int | None) -> int:
        kinds = self.model.config.num_control_type
        if mode is None or mode >= kinds:
            raise ControlNetFailed(
                f"ControlNet {self.name!r} is a union: its control_mode is 0 to {kinds - 1}"
            )
        return mode
