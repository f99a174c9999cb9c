"""Images and captions as tokens, padded as diffusers pads each of them."""

from typing import Any, NamedTuple

import torch
from diffusers import ZImageControlNetModel
from diffusers.models.controlnets.controlnet_z_image import SEQ_MULTI_OF
from torch import Tensor, nn

#: Sides of a patch in latents, in space and in time, and what diffusers calls the layers for it.
PATCH, FRAMES = 2, 1
PATCH_NAME = f"{PATCH}-{FRAMES}"


class Patches(NamedTuple):
    """Latents of images of one size as tokens, of which the last may be there only to fill up."""

    tokens: Tensor  # (b, tokens, d)
    height: int  # in tokens
    width: int

    def embed(self, embedders: nn.ModuleDict, pad_token: Tensor) -> Tensor:
        """``(b, tokens, d)`` of the model, ``pad_token`` where they fill up."""
        batch, count, _ = self.tokens.shape
        embedded: Tensor = embedders[PATCH_NAME](self.tokens.flatten(0, 1))
        is_pad = torch.arange(count, device=embedded.device) >= self.height * self.width
        return torch.where(is_pad.view(1, -1, 1), pad_token, embedded.reshape(batch, count, -1))

    def place_freqs(self, controlnet: Any, start: Tensor) -> Tensor:
        """The rotations of each token's place, ``(b, tokens, d)``; ``start``, ``(b,)``: of the image."""
        device, count = start.device, self.tokens.shape[1]
        grid = controlnet.create_coordinate_grid((1, self.height, self.width), device=device).flatten(0, 2)
        ids = grid.new_zeros(len(start), count, 3)
        ids[:, : len(grid)] = grid
        ids[:, : len(grid), 0] = start.unsqueeze(1).to(ids.dtype)
        freqs: Tensor = controlnet.rope_embedder(ids.flatten(0, 1))
        return freqs.reshape(len(start), count, *freqs.shape[1:])


def patchify(latents: Tensor) -> Patches:
    """Latents ``(b, c, h, w)`` as tokens."""
    height, width = latents.shape[-2] // PATCH, latents.shape[-1] // PATCH
    rows = ZImageControlNetModel.patchify(None, list(latents.unsqueeze(2).unbind()), PATCH, FRAMES)
    return Patches(torch.stack(rows), height, width)


def pad_caption(controlnet: Any, caption: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A caption ``(tokens, d)`` with tokens that fill it up, the places of all, and which fill it up."""
    count = len(caption) + (-len(caption)) % SEQ_MULTI_OF
    padded, ids, is_pad, _, _ = controlnet._pad_with_ids(caption, (count, 1, 1), (1, 0, 0), caption.device)
    return padded, ids[:count], is_pad  # diffusers counts places of the padding twice
