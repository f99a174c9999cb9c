"""One step of each family with a ControlNet: networks of toy width, with as many blocks as people's have."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from diffusers import ZImageControlNetModel
from PIL import Image
from torch import Tensor, nn

from shared.families.base import FamilyFacts
from shared.families.flux import FLUX
from shared.families.qwen_image import QWEN_IMAGE
from shared.families.sd3 import SD3
from shared.families.z_image import Z_IMAGE
from tests.diffusers_peer import CONTROL
from tests.tiny_transformers import (
    make_flux,
    make_flux_controlnet,
    make_qwen_image,
    make_qwen_image_controlnet,
    make_sd3,
    make_sd3_controlnet,
    make_z_image,
    make_z_image_controlnet,
)
from tests.workers.unet.specs import spec
from workers.engines.eager import EAGER
from workers.families.flux.controlnet import FluxControlNet
from workers.families.flux.model import FluxModel
from workers.families.qwen_image.controlnet import QwenImageControlNet
from workers.families.qwen_image.model import QwenImageModel
from workers.families.sd3.controlnet import SD3ControlNet
from workers.families.sd3.model import SD3Model
from workers.families.staged_forward import StagedForward
from workers.families.transformer.controlnet import TransformerControlNet, TransformerControlNetForward
from workers.families.transformer.model import TransformerModel
from workers.families.z_image.controlnet import ZImageControlNet
from workers.families.z_image.model import ZImageModel
from workers.unet.control_images import in_range
from workers.unet.latents.noise import make_generators


class Pair(NamedTuple):
    """A family's base model, and diffusers' ControlNet for it of which a step reads some blocks or all."""

    facts: FamilyFacts
    model: type[TransformerModel]
    controlnet: Callable[..., TransformerControlNet]
    make_base: Callable[[], Any]
    #: All blocks are read of the first, but not of the second.
    make_whole: Callable[[], Any]
    make_partly_read: Callable[[], Any]
    blocks: tuple[str, ...]  # the base model's
    controlnet_blocks: tuple[str, ...]


def _sd3_large() -> Any:
    """With the position embedding that the pipeline gives it."""
    model = make_sd3_controlnet("large", layers=19)
    model.pos_embed = model._get_pos_embed_from_transformer(make_sd3().transformer)
    return model


_JOINT, _SINGLE = "transformer_blocks", "single_transformer_blocks"
#: By family. Flux.1-dev has 19 and 38 blocks, SD3.5 large 38, Qwen-Image 60, Z-Image 30.
PAIRS = {
    "flux": Pair(
        FLUX,
        FluxModel,
        FluxControlNet,
        lambda: make_flux(layers=(19, 38)),
        lambda: make_flux_controlnet("5/10", num_layers=5, num_single_layers=10),
        lambda: make_flux_controlnet("6/0", num_layers=6),
        (_JOINT, _SINGLE),
        (_JOINT, _SINGLE),
    ),
    "sd3": Pair(
        SD3,
        SD3Model,
        SD3ControlNet,
        lambda: make_sd3(layers=38),
        _sd3_large,
        lambda: make_sd3_controlnet("medium", layers=37),
        (_JOINT,),
        (_JOINT,),
    ),
    "qwen_image": Pair(
        QWEN_IMAGE,
        QwenImageModel,
        QwenImageControlNet,
        lambda: make_qwen_image(layers=60),
        lambda: make_qwen_image_controlnet(layers=5),
        lambda: make_qwen_image_controlnet(layers=11),
        (_JOINT,),
        (_JOINT,),
    ),
    "z_image": Pair(
        Z_IMAGE,
        ZImageModel,
        ZImageControlNet,
        lambda: make_z_image(layers=30),
        lambda: make_z_image_controlnet("2.1", control_layers_places=list(range(0, 30, 2))),
        lambda: make_z_image_controlnet("2.1", control_layers_places=list(range(0, 34, 2))),
        ("layers",),
        ("control_layers",),
    ),
}


class GuidedStep:
    """What a worker computes of one step of a job, and which blocks that takes."""

    @torch.inference_mode()
    def __init__(self, family: str, *, is_all_read: bool = True) -> None:
        pair = PAIRS[family]
        self._model = model = pair.model("base", pair.make_base())
        network = pair.make_whole() if is_all_read else pair.make_partly_read()
        if family == "z_image":  # which computes with layers of its base model
            network = ZImageControlNetModel.from_transformer(network, model.denoiser)
        self.controlnet = pair.controlnet("net", network, pair.facts, model.denoiser_config)
        self.blocks = _blocks(model.denoiser, pair.blocks)
        self.controlnet_blocks = _blocks(network, pair.controlnet_blocks)
        job = spec(width=64, height=48, max_sequence_length=64, guidance_scale=1.0, negative_prompt=None)
        size, generators = model.size(job.width, job.height), make_generators(job)
        with Image.open(CONTROL) as image:
            pixels = in_range(model.read_control_image(image, size), pair.facts.control_range)
        (control,) = model.control_inputs(job, [pixels], [network.config], generators)
        self._t, self._conditioning = torch.tensor(731.25), model.encode_prompt(job)
        self._x = model.guidance(job).expand(model.latents.sample_noise(generators, size))
        self._plan = pair.facts.control_plan(network.config, model.denoiser_config)
        self._prepared = self.controlnet.prepare(self._conditioning.controlnet_inputs)
        self._control = self.controlnet.embed(control, len(self._x))

    def forward(self) -> StagedForward:
        """The base model's; it yields once it has computed up to where it needs the first residual."""
        return self._model.staged_forward(self._x, self._t, self._conditioning, EAGER, self._plan)

    def residuals(self, mode: int | None = None) -> TransformerControlNetForward:
        """The ControlNet's."""
        x, t = self._model.controlnet_latents(self._x), self._t.expand(len(self._x))
        return self.controlnet.forward(x, t, self._prepared, self._control, mode)


def _blocks(network: nn.Module, names: tuple[str, ...]) -> list[nn.Module]:
    return [block for name in names for block in getattr(network, name)]


class BlockClock:
    """Counts the blocks that a network has computed: its time, if each takes as long."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        self.now = 0
        for block in blocks:
            block.register_forward_hook(self._tick)

    def _tick(self, *_: object) -> None:
        self.now += 1


def in_order(residuals: Iterator[tuple[int, Tensor]]) -> Callable[[int], Tensor]:
    """Gives the next residual, which has to be the one that is asked for."""

    def give(index: int) -> Tensor:
        made, found = next(residuals)
        assert made == index
        return found

    return give
