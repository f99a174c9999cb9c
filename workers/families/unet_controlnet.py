"""A ControlNet, cut so that each residual can leave as soon as it exists, deepest first.

The calls are those of ``diffusers.ControlNetModel.forward`` in another order, so the results are
bit-equal: the trunk runs whole, then the zero convolutions from the mid block up.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from shared.errors import ControlNetFailed, ModelFailed
from workers.runtime.weights import weight_bytes, weights_sha256
from workers.transport.protocol import MID, StepPart


class ControlNet:
    """One loaded ControlNet."""

    def __init__(self, name: str, model: Any) -> None:
        if model.config.class_embed_type:
            raise ModelFailed(f"ControlNet {name!r} takes class labels: no family that is served has them")
        self.name = name
        self.model = model
        self.sha256 = weights_sha256({"controlnet": model})
        self.weight_bytes = weight_bytes([model])

    def check(self, part: StepPart, guess: bool) -> None:
        """Raise `ControlNetFailed` where diffusers would have the whole job guess, and the web could
        not know it."""
        if self.model.config.global_pool_conditions and part.position == 0 and not guess:
            detail = "pools its residuals: a job whose first ControlNet it is needs guess_mode true"
            raise ControlNetFailed(f"ControlNet {self.name!r} {detail}")

    @torch.inference_mode()
    def embed(self, image: Tensor, batch: int) -> Tensor:
        """The control image as the trunk adds it, ``(batch, c, h/f, w/f)``; the same at every step.

        ``image`` is ``(1, 3, h, w)`` in 0..1. It is embedded at the batch size of the steps, because
        another size could change the last bits.
        """
        rows = image.expand(batch, -1, -1, -1).to(self.model.device, self.model.dtype)
        if self.model.config.controlnet_conditioning_channel_order == "bgr":
            rows = torch.flip(rows, dims=[1])
        embedded: Tensor = self.model.controlnet_cond_embedding(rows.contiguous())
        return embedded

    @torch.inference_mode()
    def prepare(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the job's prompt became, as the trunk takes it; the same at every step.

        ``embeddings``, ``(b, tokens, d)``; of SDXL also ``added``, ``(b, d)``: pooled text and sizes.
        """
        controlnet = self.model
        prepared = {"embeddings": inputs["embeddings"].to(controlnet.device, controlnet.dtype)}
        if controlnet.config.addition_embed_type == "text_time":
            text, ids = (inputs[name].to(controlnet.device) for name in ("text_embeds", "time_ids"))
            sizes = controlnet.add_time_proj(ids.flatten()).reshape(len(text), -1)
            prepared["added"] = controlnet.add_embedding(
                torch.cat([text, sizes], dim=-1).to(controlnet.dtype)
            )
        return prepared

    @torch.inference_mode()
    def trunk(
        self, x: Tensor, t: Tensor, prepared: Mapping[str, Tensor], image: Tensor, mode: int | None = None
    ) -> list[Tensor]:
        """All that comes before the zero convolutions: skips, shallowest first, and the mid block's output.

        ``x`` is the scaled model input ``(b, c, h/f, w/f)``, ``t`` a scalar or ``(b,)``, ``prepared`` what
        `prepare` made of the prompt and ``image`` what `embed` made of the control image, ``mode`` its kind
        if this is a union of nets.
        """
        controlnet = self.model
        x = x.to(controlnet.device, controlnet.dtype)
        embeddings = prepared["embeddings"]
        time = self._time(t, x.shape[0], mode)
        if "added" in prepared:
            time = time + prepared["added"]
        x = self._enter(x, image, mode)
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

    def order(self) -> list[int]:
        """The indices of the residuals, deepest first: the mid block's, then up to the shallowest."""
        return [MID, *reversed(range(len(self.model.controlnet_down_blocks)))]

    @torch.inference_mode()
    def residual(self, trunk: list[Tensor], index: int) -> Tensor:
        """The zero convolution of one skip, or of the mid block; not scaled yet."""
        controlnet = self.model
        convolution = (
            controlnet.controlnet_mid_block if index == MID else controlnet.controlnet_down_blocks[index]
        )
        made: Tensor = convolution(trunk[index])  # the mid block's output is the last: MID is -1
        return made

    @torch.inference_mode()
    def weigh(self, residual: Tensor, index: int, scale: float, guess: bool) -> Tensor:
        """A residual as the job wants it: scaled; when guessing, the shallow ones less than the deep.

        A ControlNet that pools gives one value for each channel, ``(b, c, 1, 1)``.
        """
        if self.model.config.global_pool_conditions:
            return torch.mean(residual * scale, dim=(2, 3), keepdim=True)
        if not guess:
            return residual * scale
        scales = torch.logspace(-1, 0, len(self.order()), device=residual.device) * scale
        return residual * scales[index]  # the mid block's is the last: MID is -1

    def _time(self, t: Tensor, rows: int, mode: int | None) -> Tensor:
        """The time embedding, ``(b, d)``."""
        if mode is not None:
            raise ControlNetFailed(f"ControlNet {self.name!r} is no union: it has no control_mode")
        return self._embed_time(t, rows)

    def _enter(self, x: Tensor, image: Tensor, mode: int | None) -> Tensor:
        """The first layer, and the control image."""
        entered: Tensor = self.model.conv_in(x) + image
        return entered

    def _embed_time(self, t: Tensor, rows: int) -> Tensor:
        controlnet = self.model
        embedded: Tensor = controlnet.time_embedding(
            controlnet.time_proj(t.to(controlnet.device).expand(rows)).to(controlnet.dtype)
        )
        return embedded
