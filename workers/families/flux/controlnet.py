"""Flux.1's ControlNets: of InstantX's and Shakker's kind, unions of them, and XLabs', which see pixels.

The calls are those of ``diffusers.FluxControlNetModel.forward`` (0.42), but that each output layer runs right
after its block.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from shared.errors import ControlNetFailed
from workers.families.flux.forward import embed_positions, embed_time
from workers.families.transformer.controlnet import ControlNetInputs, TransformerControlNet


class FluxControlNet(TransformerControlNet):
    """See `ControlNet`; residuals are numbered as `shared.families.flux.FluxFacts.control_plan` says."""

    def check_mode(self, mode: int | None) -> None:
        """See `TransformerControlNet`."""
        kinds = self.model.config.num_mode
        if kinds is None and mode is not None:
            raise ControlNetFailed(f"ControlNet {self.name!r} is no union: it has no control_mode")
        if kinds is not None and (mode is None or mode >= kinds):
            detail = f"is a union of {kinds} kinds: it needs a control_mode below {kinds}"
            raise ControlNetFailed(f"ControlNet {self.name!r} {detail}")

    @torch.inference_mode()
    def embed(self, control: Tensor, batch: int) -> Tensor:
        """``(batch, tokens, d)`` of packed latents ``(batch, tokens, 4c)``, or of pixels ``(n, 3, h, w)``."""
        controlnet = self.model
        rows = control.to(self.device, self.dtype)
        if controlnet.input_hint_block is not None:
            rows = self._patches(controlnet.input_hint_block(rows.expand(batch, -1, -1, -1).contiguous()))
        embedded: Tensor = controlnet.controlnet_x_embedder(rows)
        return embedded

    @torch.inference_mode()
    def prepare(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `ControlNet`; the text as the blocks take it."""
        text = self.model.context_embedder(inputs["embeddings"].to(self.device, self.dtype))
        prepared = {
            "text": text,
            "pooled": inputs["pooled"].to(self.device, self.dtype),
            "positions": inputs["positions"].to(self.device),
        }
        if self.model.config.guidance_embeds:
            prepared["guidance"] = inputs["guidance"].to(self.device)
        return prepared

    def residuals(self, inputs: ControlNetInputs) -> Iterator[tuple[int, Tensor]]:
        """See `TransformerControlNet`."""
        controlnet, prepared = self.model, inputs.prepared
        x = controlnet.x_embedder(inputs.x) + inputs.control
        t = inputs.t.to(inputs.x.dtype)
        time = embed_time(controlnet, t, prepared.get("guidance"), prepared["pooled"])
        text = prepared["text"]
        if inputs.mode is not None:
            mode = torch.full((len(x), 1), inputs.mode, device=x.device)
            text = torch.cat([controlnet.controlnet_mode_embedder(mode), text], dim=1)
        rotary = embed_positions(controlnet, text.shape[1], prepared["positions"])
        blocks = [*controlnet.transformer_blocks, *controlnet.single_transformer_blocks]
        outputs = [*controlnet.controlnet_blocks, *controlnet.controlnet_single_blocks]
        for index in range(max(self.order) + 1):
            text, x = blocks[index](
                hidden_states=x, encoder_hidden_states=text, temb=time, image_rotary_emb=rotary
            )
            if index in self.wanted:
                yield index, outputs[index](x)

    def _patches(self, features: Tensor) -> Tensor:
        """``(b, tokens, c * p²)`` of features ``(b, c, h, w)`` in patches of p²."""
        (rows, channels, height, width), side = features.shape, self.model.config.patch_size
        split = features.reshape(rows, channels, height // side, side, width // side, side)
        return split.permute(0, 2, 4, 1, 3, 5).reshape(rows, (height // side) * (width // side), -1)
