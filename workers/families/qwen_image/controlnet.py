"""Qwen-Image's ControlNets, of InstantX's kind.

The calls are those of ``diffusers.QwenImageControlNetModel.forward`` (0.42), but that each output layer runs
right after its block.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from shared.errors import ControlNetFailed
from workers.families.qwen_image.forward import embed_positions, embed_text, embed_time
from workers.families.transformer.controlnet import ControlNetInputs, TransformerControlNet


class QwenImageControlNet(TransformerControlNet):
    """See `ControlNet`; residuals are numbered as their blocks are."""

    def check_mode(self, mode: int | None) -> None:
        """See `TransformerControlNet`: diffusers' union of this family tells its kinds by the image alone."""
        if mode is not None:
            raise ControlNetFailed(f"ControlNet {self.name!r} takes no control_mode")

    @torch.inference_mode()
    def embed(self, control: Tensor, batch: int) -> Tensor:
        """``(batch, tokens, d)`` of packed latents ``(batch, tokens, 4c)``."""
        embedded: Tensor = self.model.controlnet_x_embedder(control.to(self.device, self.dtype))
        return embedded

    @torch.inference_mode()
    def prepare(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `ControlNet`; the text as the blocks take it."""
        text = embed_text(self.model, inputs["embeddings"].to(self.device, self.dtype))
        return {"text": text, "grid": inputs["grid"].to(self.device)}

    def residuals(self, inputs: ControlNetInputs) -> Iterator[tuple[int, Tensor]]:
        """See `TransformerControlNet`."""
        controlnet, text = self.model, inputs.prepared["text"]
        x = controlnet.img_in(inputs.x) + inputs.control
        time = embed_time(controlnet, inputs.t.to(inputs.x.dtype), x)
        rotary = embed_positions(controlnet, inputs.prepared["grid"], text.shape[1], x)
        for index in range(max(self.order) + 1):
            text, x = controlnet.transformer_blocks[index](
                hidden_states=x,
                encoder_hidden_states=text,
                encoder_hidden_states_mask=None,
                temb=time,
                image_rotary_emb=rotary,
            )
            if index in self.wanted:
                yield index, controlnet.controlnet_blocks[index](x)
