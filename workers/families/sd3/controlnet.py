"""ControlNets of Stable Diffusion 3: with the base's kind of blocks, and SD3.5 large's own, without text.

The calls are those of ``diffusers.SD3ControlNetModel.forward`` (0.42), but that each output layer runs right
after its block.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from shared.errors import ControlNetFailed
from shared.families.sd3 import zeroes_pooled
from workers.families.transformer.controlnet import ControlNetInputs, TransformerControlNet


class SD3ControlNet(TransformerControlNet):
    """See `ControlNet`; residuals are numbered as `shared.families.sd3.SD3Facts.control_plan` says."""

    def check_mode(self, mode: int | None) -> None:
        """See `TransformerControlNet`."""
        if mode is not None:
            raise ControlNetFailed(f"ControlNet {self.name!r} is no union: it has no control_mode")

    @torch.inference_mode()
    def embed(self, control: Tensor, batch: int) -> Tensor:
        """``(batch, tokens, d)`` of latents ``(batch, c, h/8, w/8)``."""
        embedded: Tensor = self.model.pos_embed_input(control.to(self.device, self.dtype))
        return embedded

    @torch.inference_mode()
    def prepare(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `ControlNet`; the text as the blocks take it, if they take any."""
        pooled = inputs["pooled"].to(self.device, self.dtype)
        if zeroes_pooled(self.model.config):
            pooled = torch.zeros_like(pooled)
        prepared = {"pooled": pooled}
        if self.model.context_embedder is not None:
            embeddings = inputs["embeddings"].to(self.device, self.dtype)
            prepared["text"] = self.model.context_embedder(embeddings)
        return prepared

    def residuals(self, inputs: ControlNetInputs) -> Iterator[tuple[int, Tensor]]:
        """See `TransformerControlNet`."""
        controlnet, text = self.model, inputs.prepared.get("text")
        x = controlnet.pos_embed(inputs.x)
        time = controlnet.time_text_embed(inputs.t, inputs.prepared["pooled"])
        x = x + inputs.control
        for index in range(max(self.order) + 1):
            block = controlnet.transformer_blocks[index]
            if text is None:
                x = block(x, time)
            else:
                text, x = block(hidden_states=x, encoder_hidden_states=text, temb=time)
            if index in self.wanted:
                yield index, controlnet.controlnet_blocks[index](x)
