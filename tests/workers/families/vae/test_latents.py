"""Latents of a VAE: noise with diffusers' bits, and no walk through all modules of a model."""

import torch
from diffusers import AutoencoderKL
from diffusers.utils.torch_utils import randn_tensor
from torch import nn

from workers.families.vae.latents import VaeLatents


class SlowToAsk(nn.Module):
    """A denoiser whose `device` and `dtype` look through all modules, as diffusers' do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(4, 4, 1, dtype=torch.float16)

    @property
    def device(self) -> torch.device:
        raise AssertionError("asked of all modules")

    dtype = device


class SlowVae(AutoencoderKL):
    device = SlowToAsk.device
    dtype = SlowToAsk.device


def test_a_job_asks_no_model_for_what_takes_a_walk_through_its_modules() -> None:
    vae = SlowVae(block_out_channels=(32,), latent_channels=4).eval()
    latents = VaeLatents(vae, SlowToAsk(), 8)
    noise = latents.sample_noise([torch.Generator().manual_seed(1)], (64, 32))
    expected = randn_tensor((1, 4, 4, 8), torch.Generator().manual_seed(1), dtype=torch.float16)
    assert torch.equal(noise, expected)
    assert latents.dtype == torch.float16
    with torch.inference_mode():
        assert latents.decode(noise, (64, 32)).dtype == torch.float32
        latents.encode(torch.zeros(1, 3, 8, 8))
    latents.prepare_preview()
