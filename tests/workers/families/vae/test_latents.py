"""Latents of a VAE: noise with diffusers' bits, and no walk through all modules of a model."""

import copy

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


def test_images_are_encoded_in_float32_by_weights_of_half_precision() -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(block_out_channels=(32,), latent_channels=4).eval().to(torch.bfloat16)
    pixels = torch.rand(1, 3, 16, 16) * 2 - 1
    # Given what diffusers' pipelines of SDXL do: cast the weights, encode, and cast them back
    with torch.inference_mode():
        upcast = copy.deepcopy(vae).float().encode(pixels.to(torch.bfloat16).float())
        expected = upcast.latent_dist.sample(torch.Generator().manual_seed(1)).to(torch.bfloat16)
        # When the latents of such a VAE are asked for
        latents = VaeLatents(vae, vae, 8, encodes_in_float32=True)
        sample = latents.encode(pixels).sample(torch.Generator().manual_seed(1))
        own = VaeLatents(vae, vae, 8).encode(pixels).sample(torch.Generator().manual_seed(1))
    # Then they are the same, and not those of its own type, which it still has
    assert torch.equal(sample, expected * vae.config.scaling_factor)
    assert not torch.equal(sample, own)
    assert {weight.dtype for weight in vae.parameters()} == {torch.bfloat16}


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
