"""Rough images while a job runs: a linear map from latents to RGB, fitted once per model.

A VAE decode per step would cost more than it shows. Near enough, each latent pixel has a colour:
decode a few patches of even latents, and solve for the map by least squares.
"""

import base64
import io
import logging
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from workers.runtime.weights.loaded import first_parameter

log = logging.getLogger(__name__)

PATCHES, PATCH = 32, 4


class Previewer:
    """Makes previews for one model."""

    def __init__(self, vae: Any, to_vae: Callable[[Tensor], Tensor]) -> None:
        """``to_vae`` brings latents into the VAE's range."""
        self._vae, self._to_vae = vae, to_vae
        self._map: Tensor | None = None  # (c + 1, 3), the last row is the offset; on the CPU

    @torch.inference_mode()
    def fit(self) -> None:
        """Fit the map unless it is there; uses the VAE, and waits for its device."""
        if self._map is None:
            try:
                self._map = self._fit()
            except RuntimeError:  # of a VAE that cannot decode, or does so to NaN
                log.exception("this model has no previews")

    def preview(self, row: Tensor) -> str:
        """Base64 PNG of latents ``(1, c, h, w)``, which are on the CPU: one pixel per latent pixel."""
        if self._map is None:
            raise RuntimeError("the map to RGB was not fitted")
        first = row[0].float()
        flat = first.flatten(1).T  # (h * w, c)
        rgb = torch.cat([flat, torch.ones_like(flat[:, :1])], dim=1) @ self._map
        rgb = rgb.nan_to_num(0.0)  # of a job that will fail at its end
        pixels = (rgb.clamp(0, 1) * 255).round().to(torch.uint8).reshape(*first.shape[1:], 3)
        file = io.BytesIO()
        Image.fromarray(pixels.numpy()).save(file, format="PNG")
        return base64.b64encode(file.getvalue()).decode()

    def _fit(self) -> Tensor:
        vae = self._vae
        channels = vae.config.latent_channels
        generator = torch.Generator().manual_seed(0)
        colours = torch.randn(PATCHES, channels, generator=generator, dtype=torch.float32)
        weight = first_parameter(vae)
        even = colours[:, :, None, None].expand(-1, -1, PATCH, PATCH).to(weight.device, weight.dtype)
        pixels = vae.decode(self._to_vae(even), return_dict=False)[0]
        rgb = (pixels.float().mean(dim=(2, 3)).cpu() / 2 + 0.5).clamp(0, 1)
        inputs = torch.cat([colours, torch.ones(PATCHES, 1, dtype=torch.float32)], dim=1)
        return torch.as_tensor(torch.linalg.lstsq(inputs, rgb).solution)
