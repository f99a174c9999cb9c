"""A start for a small VAE of flat images that already reproduces their colours.

GroupNorm removes an image's mean, which for flat art nearly is the image, so that from the usual
random start the loss stays high for hours. Here the residual trunk, which is linear, carries colour past
the norms: its channels 0 to 5 hold +red, +green, +blue, -red, -green, -blue (both signs, because
silu(a) - silu(-a) = a), and a few channels hold large constants so that the norms' statistics hardly
depend on the image. The two output convolutions are then solved by least squares for latents that are the
mean colour of a patch and the strongest pattern of brightness within it. Everything is trained from there.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import Conv2d

from infra.emoji.training.data.canvas import FACTOR

COLOUR_CHANNELS = 6
CONSTANT = 3.0
LOG_VARIANCE = -6.0
#: Kernels as rows of weights: pass on, average two by two, interpolate.
POINT = ((1.0,),)
CENTRE = ((0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0))
MEAN = ((0.25, 0.25, 0.0), (0.25, 0.25, 0.0), (0.0, 0.0, 0.0))
TENT = ((0.0625, 0.125, 0.0625), (0.125, 0.25, 0.125), (0.0625, 0.125, 0.0625))


@torch.no_grad()
def initialise_vae(vae: AutoencoderKL, x: Tensor) -> None:
    """Set the weights of ``vae`` from a batch of images ``x``, ``(n, 3, 64, 64)``, -1 to 1."""
    _quieten_branches(vae)
    _carry_colour(vae.encoder.conv_in, vae.encoder.down_blocks, MEAN, constants=range(6, 14))
    _carry_colour(vae.decoder.conv_in, vae.decoder.up_blocks, TENT, constants=range(6, 10))
    _pass_latents(vae)
    vae.encoder.conv_out.weight.zero_()
    vae.encoder.conv_out.bias.zero_()
    _solve(vae.encoder.conv_out, lambda: vae.encoder(x), _ideal_latents(x))
    latents = vae.encode(x).latent_dist.mean
    _solve(vae.decoder.conv_out, lambda: vae.decode(latents), x)


def _quieten_branches(vae: AutoencoderKL) -> None:
    for name, module in vae.named_modules():
        if name.endswith("conv2"):
            module.weight.mul_(0.15)
            module.weight[: 2 * COLOUR_CHANNELS] *= 0.3
            module.bias.zero_()


def _carry_colour(
    conv_in: Conv2d,
    blocks: Sequence[Any],
    resampling: Sequence[Sequence[float]],
    *,
    constants: range,
) -> None:
    _route(conv_in, CENTRE, [(i % 3, 1.0 if i < 3 else -1.0) for i in range(COLOUR_CHANNELS)])
    straight = [(i, 1.0) for i in range(COLOUR_CHANNELS)]
    for block in blocks:
        for resnet in block.resnets:
            if resnet.conv_shortcut is not None:
                _route(resnet.conv_shortcut, POINT, straight)
        samplers = getattr(block, "downsamplers", None) or getattr(block, "upsamplers", None) or ()
        for sampler in samplers:
            _route(sampler.conv, resampling, straight)
    shortcut = blocks[-1].resnets[0].conv_shortcut
    for i, channel in enumerate(constants):
        shortcut.weight[channel] = 0
        shortcut.bias[channel] = CONSTANT if i % 2 == 0 else -CONSTANT


def _route(conv: Conv2d, kernel: Sequence[Sequence[float]], sources: Sequence[tuple[int, float]]) -> None:
    """Let output ``i`` be ``kernel`` over input ``sources[i][0]``, with the sign ``sources[i][1]``."""
    assert conv.bias is not None
    for i, (source, sign) in enumerate(sources):
        conv.weight[i] = 0
        conv.bias[i] = 0
        conv.weight[i, source] = sign * torch.tensor(kernel)


def _pass_latents(vae: AutoencoderKL) -> None:
    for conv in (vae.quant_conv, vae.post_quant_conv):
        conv.weight.zero_()
        conv.bias.zero_()
        for i in range(vae.config.latent_channels):
            conv.weight[i, i] = 1
    vae.quant_conv.bias[vae.config.latent_channels :] = LOG_VARIANCE


def _ideal_latents(x: Tensor) -> Tensor:
    """Mean colour and strongest brightness pattern of each 4 by 4 patch, ``(n, 4, h/4, w/4)``."""
    mean = F.avg_pool2d(x, FACTOR)
    detail = (x - F.interpolate(mean, scale_factor=FACTOR)).mean(1, keepdim=True)
    patches = F.pixel_unshuffle(detail, FACTOR)  # (n, 16, h/4, w/4)
    rows = patches.permute(0, 2, 3, 1).reshape(-1, FACTOR**2)
    _, _, patterns = torch.linalg.svd(rows, full_matrices=False)
    strength = (patches * patterns[0].view(1, -1, 1, 1)).sum(1, keepdim=True)
    return torch.cat([mean, strength], 1)


def _solve(conv: Conv2d, run: Callable[[], object], target: Tensor, ridge: float = 1e-3) -> None:
    """Set the first outputs of ``conv`` by least squares, so that they give ``target`` under ``run``."""
    assert conv.bias is not None
    inputs = _input_of(conv, run)
    channels = inputs.shape[1]
    columns = F.unfold(inputs, 3, padding=1).permute(0, 2, 1).reshape(-1, channels * 9)
    columns = torch.cat([columns, torch.ones(len(columns), 1)], 1).double()
    wanted = target.permute(0, 2, 3, 1).reshape(-1, target.shape[1]).double()
    gram = columns.T @ columns / len(columns)
    gram += ridge * torch.eye(len(gram), dtype=gram.dtype)
    weights = torch.linalg.solve(gram, columns.T @ wanted / len(columns)).float()
    outputs = target.shape[1]
    conv.weight[:outputs] = weights[:-1].T.reshape(outputs, channels, 3, 3)
    conv.bias[:outputs] = weights[-1]


def _input_of(module: torch.nn.Module, run: Callable[[], object]) -> Tensor:
    seen: list[Tensor] = []
    hook = module.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    run()
    hook.remove()
    return seen[0].contiguous()
