"""A ControlNet, cut so that each residual can leave as soon as it exists, deepest first.

The calls are those of ``diffusers.ControlNetModel.forward`` in another order, so the results are
bit-equal: the trunk runs whole, then the zero convolutions from the mid block up.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import ControlNetModel
from torch import Tensor

from shared.errors import ModelFailed
from workers.residuals.messages import MID
from workers.weights import weight_bytes, weights_sha256


class Net:
    """One loaded ControlNet."""

    def __init__(self, name: str, model: Any) -> None:
        config = model.config
        if config.class_embed_type or config.global_pool_conditions:
            raise ModelFailed(f"ControlNet {name!r} is of a family that is not served yet")
        self.name = name
        self.model = model
        self.sha256 = weights_sha256({"controlnet": model})
        self.weight_bytes = weight_bytes([model])

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
    def trunk(self, x: Tensor, t: Tensor, inputs: Mapping[str, Tensor], image: Tensor) -> list[Tensor]:
        """All that comes before the zero convolutions: skips, shallowest first, and the mid block's output.

        ``x`` is the scaled model input ``(b, c, h/f, w/f)``, ``t`` a scalar or ``(b,)``, ``inputs`` what the
        job's prompt became (``embeddings``, ``(b, tokens, d)``), ``image`` what `embed` made of the control
        image.
        """
        net = self.model
        x = x.to(net.device, net.dtype)
        embeddings = inputs["embeddings"].to(net.device, net.dtype)
        time = net.time_proj(t.to(net.device).expand(x.shape[0])).to(net.dtype)
        time = net.time_embedding(time)
        if net.config.addition_embed_type == "text_time":
            time = time + _embed_sdxl(net, inputs, time.dtype)
        x = net.conv_in(x) + image
        skips = [x]
        for block in net.down_blocks:
            if getattr(block, "has_cross_attention", False):
                x, outputs = block(hidden_states=x, temb=time, encoder_hidden_states=embeddings)
            else:
                x, outputs = block(hidden_states=x, temb=time)
            skips.extend(outputs)
        if getattr(net.mid_block, "has_cross_attention", False):
            x = net.mid_block(x, time, encoder_hidden_states=embeddings)
        elif net.mid_block is not None:
            x = net.mid_block(x, time)
        return [*skips, x]

    def order(self) -> list[int]:
        """The indices of the residuals, deepest first: the mid block's, then up to the shallowest."""
        return [MID, *reversed(range(len(self.model.controlnet_down_blocks)))]

    @torch.inference_mode()
    def residual(self, trunk: list[Tensor], index: int) -> Tensor:
        """The zero convolution of one skip, or of the mid block; not scaled yet."""
        net = self.model
        convolution = net.controlnet_mid_block if index == MID else net.controlnet_down_blocks[index]
        made: Tensor = convolution(trunk[index])  # the mid block's output is the last: MID is -1
        return made


def _embed_sdxl(net: Any, inputs: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
    """What SDXL adds to the time embedding, ``(b, d)``: pooled text and sizes."""
    text, ids = (inputs[name].to(net.device) for name in ("text_embeds", "time_ids"))
    sizes = net.add_time_proj(ids.flatten()).reshape(len(text), -1)
    added: Tensor = net.add_embedding(torch.cat([text, sizes], dim=-1).to(dtype))
    return added


def load_net(name: str, source: str, dtype: str, device: str) -> Net:
    """Load a net from a diffusers folder, a single file or a hub id; raises `ModelFailed`."""
    load = (
        ControlNetModel.from_single_file
        if source.endswith(".safetensors")
        else ControlNetModel.from_pretrained
    )
    try:
        model = load(source, dtype=getattr(torch, dtype))
        model.to(device)
    except (OSError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelFailed(f"ControlNet {name!r} ({source}) cannot be loaded: {error}") from error
    return Net(name, model.eval().requires_grad_(False))
