"""A ControlNet of a UNet, in an order in which each residual can leave as soon as it exists, deepest first.

The calls are those of ``diffusers.ControlNetModel.forward`` in another order, so the results are
bit-equal: all blocks run first, then the zero convolutions from the mid block up.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from shared.errors import ControlNetFailed, ModelFailed
from shared.families.unet import SD1
from workers.families.base_controlnet import ControlNet, ControlNetForward


class UNetControlNet(ControlNet):
    """See `ControlNet`; the residuals are numbered as `shared.families.unet.UNetFacts.control_plan` says."""

    def __init__(self, name: str, model: Any, sha256: str | None = None) -> None:
        if model.config.class_embed_type:
            raise ModelFailed(f"ControlNet {name!r} takes class labels: no family that is served has them")
        super().__init__(name, model, sha256)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """See `ControlNet`: deepest first."""
        return SD1.control_plan(self.model.config, None).wanted

    def check(self, position: int, *, guess_mode: bool) -> None:
        """See `ControlNet`: with a first ControlNet that pools, diffusers guesses, and the web could not
        always know it."""
        if self.model.config.global_pool_conditions and position == 0 and not guess_mode:
            detail = "pools its residuals: a job whose first ControlNet it is needs guess_mode true"
            raise ControlNetFailed(f"ControlNet {self.name!r} {detail}")

    @torch.inference_mode()
    def embed(self, control: Tensor, batch: int) -> Tensor:
        """``(batch, c, h/f, w/f)`` of pixels ``(1, 3, h, w)`` in 0..1.

        They are embedded at the batch size of the steps, because another size could change the last bits.
        """
        rows = control.expand(batch, -1, -1, -1).to(self.model.device, self.model.dtype)
        if self.model.config.controlnet_conditioning_channel_order == "bgr":
            rows = torch.flip(rows, dims=[1])
        embedded: Tensor = self.model.controlnet_cond_embedding(rows.contiguous())
        return embedded

    @torch.inference_mode()
    def prepare(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``embeddings``, ``(b, tokens, d)``; of SDXL also ``added``, ``(b, d)``: pooled text and sizes."""
        controlnet = self.model
        prepared = {"embeddings": inputs["embeddings"].to(controlnet.device, controlnet.dtype)}
        if controlnet.config.addition_embed_type == "text_time":
            text, ids = (inputs[name].to(controlnet.device) for name in ("text_embeds", "time_ids"))
            sizes = controlnet.add_time_proj(ids.flatten()).reshape(len(text), -1)
            prepared["added"] = controlnet.add_embedding(
                torch.cat([text, sizes], dim=-1).to(controlnet.dtype)
            )
        return prepared

    def forward(
        self, x: Tensor, t: Tensor, prepared: Mapping[str, Tensor], control: Tensor, mode: int | None = None
    ) -> "UNetControlNetForward":
        """See `ControlNet`; all blocks run here, the zero convolutions while it is iterated."""
        features = self.features(x, t, prepared, control, mode)
        convolutions = [*self.model.controlnet_down_blocks, self.model.controlnet_mid_block]
        return UNetControlNetForward(self.order, features, convolutions)

    @torch.inference_mode()
    def features(
        self, x: Tensor, t: Tensor, prepared: Mapping[str, Tensor], control: Tensor, mode: int | None = None
    ) -> list[Tensor]:
        """What the zero convolutions are given: skips, shallowest first, and the mid block's output.

        ``x`` is ``(b, c, h/f, w/f)``; the rest as in `forward`.
        """
        controlnet = self.model
        x = x.to(controlnet.device, controlnet.dtype)
        embeddings = prepared["embeddings"]
        time = self._time(t, x.shape[0], mode)
        if "added" in prepared:
            time = time + prepared["added"]
        x = self._enter(x, control, mode)
        skips = [x]
        for block in controlnet.down_blocks:
            if getattr(block, "has_cross_attention", False):
                x, outputs = block(hidden_states=x, temb=time, encoder_hidden_states=embeddings)
            else:
                x, outputs = block(hidden_states=x, temb=time)
            skips.extend(outputs)
        if getattr(controlnet.mid_block, "has_cross_attention", False):
            x = controlnet.mid_block(x, time, encoder_hidden_states=embeddings)
        elif controlnet.mid_block is not None:
            x = controlnet.mid_block(x, time)
        return [*skips, x]

    @torch.inference_mode()
    def scale(self, residual: Tensor, index: int, scale: float, *, guess_mode: bool) -> Tensor:
        """See `ControlNet`: in guess mode the shallow ones less than the deep.

        A ControlNet that pools gives one value for each channel, ``(b, c, 1, 1)``.
        """
        if self.model.config.global_pool_conditions:
            return torch.mean(residual * scale, dim=(2, 3), keepdim=True)
        if not guess_mode:
            return residual * scale
        scales = torch.logspace(-1, 0, len(self.order), device=residual.device) * scale
        return residual * scales[index]

    def _time(self, t: Tensor, rows: int, mode: int | None) -> Tensor:
        """The time embedding, ``(b, d)``."""
        if mode is not None:
            raise ControlNetFailed(f"ControlNet {self.name!r} is no union: it has no control_mode")
        return self._embed_time(t, rows)

    def _enter(self, x: Tensor, control: Tensor, mode: int | None) -> Tensor:
        """The first layer, and the control image."""
        entered: Tensor = self.model.conv_in(x) + control
        return entered

    def _embed_time(self, t: Tensor, rows: int) -> Tensor:
        controlnet = self.model
        embedded: Tensor = controlnet.time_embedding(
            controlnet.time_proj(t.to(controlnet.device).expand(rows)).to(controlnet.dtype)
        )
        return embedded


class UNetControlNetForward(ControlNetForward):
    """The zero convolutions that are still to run."""

    def __init__(self, order: tuple[int, ...], features: list[Tensor], convolutions: list[Any]) -> None:
        self._indices = iter(order)
        self._features, self._convolutions = features, convolutions

    @torch.inference_mode()
    def __next__(self) -> tuple[int, Tensor]:
        index = next(self._indices)
        return index, self._convolutions[index](self._features[index])

    @torch.inference_mode()
    def select_rows(self, rows: Tensor) -> None:
        """See `ControlNetForward`."""
        self._features = [tensor[rows.to(tensor.device)] for tensor in self._features]
