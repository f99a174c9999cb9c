"""Tiny models of Z-Image on a worker, and the same jobs as a user of diffusers writes them."""

import copy
import dataclasses
import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import ZImageControlNetModel
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from infra.tiny_models.z_image import make_z_image, make_z_image_controlnet
from shared.families.z_image import Z_IMAGE
from shared.jobs.record import Job
from shared.jobs.spec import JobSpec
from shared.settings import Settings
from tests.diffusers_peer import make_scheduler
from tests.workers.conftest import worker_maker
from tests.workers.families.dtypes import DTYPES
from tests.workers.unet.jobs import control, run, store_image
from tests.workers.unet.specs import spec
from workers.families.base import BaseModel
from workers.families.base_controlnet import ControlNet
from workers.families.controlnet_configs import ControlNetConfigs
from workers.families.z_image.controlnet import ZImageControlNet
from workers.families.z_image.model import ZImageModel
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.unet.worker import UNetWorker

#: Of the images: their tokens are filled up to a multiple of 32.
WIDTH, HEIGHT = 96, 64
KINDS = ("1.0", "2.0", "2.1")


def make_image(seed: int) -> Image.Image:
    values = np.random.default_rng(seed).random((HEIGHT, WIDTH, 3)) * 255
    return Image.fromarray(values.astype("uint8"))


def make_mask() -> Image.Image:
    """White where something is generated."""
    mask = Image.new("RGB", (WIDTH, HEIGHT))
    mask.paste((255, 255, 255), (20, 10, 70, 50))
    return mask


CONTROL, SOURCE, MASK = make_image(1), make_image(2), make_mask()


@dataclass(frozen=True)
class Generated:
    """Images, ``(h, w, 3)`` each, and what the VAE was given, ``(n, c, h/8, w/8)``."""

    pixels: list[NDArray[np.int16]]
    latents: list[Tensor]

    def equals(self, other: "Generated") -> bool:
        same_pixels = all(np.array_equal(a, b) for a, b in zip(self.pixels, other.pixels, strict=True))
        return same_pixels and all(
            torch.equal(a, b) for a, b in zip(self.latents, other.latents, strict=True)
        )


@dataclass(frozen=True)
class World:
    """A model in one type of numbers, its ControlNets, and a worker."""

    dtype: str
    worker: UNetWorker
    #: What `ours_once` has generated, by the job.
    generated: dict[str, Generated] = dataclasses.field(default_factory=dict, compare=False)

    @cached_property
    def pipe(self) -> Any:
        with self.worker.models.use(self.dtype) as model:
            return model.pipe

    def spec(self, **changes: Any) -> JobSpec:
        values: dict[str, Any] = {
            "model": self.dtype,
            "scheduler": "flow_match_euler",
            "negative_prompt": None,
            "width": WIDTH,
            "height": HEIGHT,
            "num_inference_steps": 4,
            "guidance_scale": 4.0,
            "lora_loading": {"mode": "exact"},
        }
        return spec(**values | changes)

    def controlnet(self, kind: str, **changes: Any) -> Any:
        """Of a spec: the ControlNet of a kind, with the control image."""
        image = store_image(self.worker, CONTROL)
        return control(
            self.worker, f"{self.dtype}-{kind}", image=image, **{"conditioning_scale": 0.7} | changes
        )

    def images(self, *, mask: bool = False) -> dict[str, Any]:
        """Of a spec: the image to start from, and the mask."""
        images = {"image": store_image(self.worker, SOURCE)}
        return images | ({"mask_image": store_image(self.worker, MASK)} if mask else {})

    def run(self, wanted: JobSpec) -> Job:
        return run(self.worker, wanted)

    def ours(self, wanted: JobSpec) -> Generated:
        with self.worker.models.use(wanted.model) as model:
            model.latents.prepare_preview()  # once a model, it decodes too
            with _decoded(model.pipe.vae) as latents:
                job = self.run(wanted)
        assert job.status == "succeeded", job.error
        pngs = [self.worker.images.get(image.key) for image in job.images]
        return Generated([np.asarray(Image.open(io.BytesIO(png)), dtype=np.int16) for png in pngs], latents)

    def ours_once(self, wanted: JobSpec) -> Generated:
        """What a worker generates, once for all equal jobs."""
        key = wanted.model_dump_json()
        if key not in self.generated:
            self.generated[key] = self.ours(wanted)
        return self.generated[key]

    def theirs(self, wanted: JobSpec, loras: Sequence[Path] = ()) -> Generated:
        """What diffusers generates of the same parts, with LoRAs fused into a copy of them."""
        torch.set_num_threads(1)
        with self.worker.models.use(wanted.model) as model:
            model.patcher.restore()
        parts = dict(self.pipe.components)
        parts["scheduler"] = make_scheduler(wanted, self.pipe.scheduler.config)
        if loras:
            parts["transformer"] = copy.deepcopy(parts["transformer"])
        mode = "" if wanted.image is None else "Img2Img" if wanted.mask_image is None else "Inpaint"
        options = _options(wanted)
        if wanted.controlnets:
            name = wanted.controlnets[0].name
            parts["controlnet"] = make_z_image_controlnet(name.rpartition("-")[2]).to(
                parts["transformer"].dtype
            )
            mode = f"ControlNet{mode}"
            options["control_image"] = CONTROL
            options["controlnet_conditioning_scale"] = wanted.controlnets[0].conditioning_scale
        peer = getattr(diffusers, f"ZImage{mode}Pipeline")(**parts)
        peer.set_progress_bar_config(disable=True)
        for lora in loras:
            peer.load_lora_weights(str(lora.parent), weight_name=lora.name)
            peer.fuse_lora()
        if wanted.controlnets and mode == "ControlNetInpaint":
            del options["strength"]
        with _decoded(peer.vae) as latents:
            images = peer(wanted.prompt, **options).images
        return Generated([np.asarray(image, dtype=np.int16) for image in images], latents)


def _options(wanted: JobSpec) -> dict[str, Any]:
    generators = [torch.Generator().manual_seed(seed) for seed in wanted.image_seeds]
    images: dict[str, Any] = {}
    if wanted.image is not None:
        images = {"image": SOURCE, "strength": wanted.strength}
    if wanted.mask_image is not None:
        images["mask_image"] = MASK
    return {
        **images,
        "negative_prompt": wanted.negative_prompt,
        "num_inference_steps": wanted.num_inference_steps,
        "guidance_scale": wanted.guidance_scale,
        "cfg_normalization": wanted.cfg_normalization,
        "cfg_truncation": wanted.cfg_truncation,
        "num_images_per_prompt": wanted.num_images,
        "generator": generators if len(generators) > 1 else generators[0],
        "width": wanted.width,
        "height": wanted.height,
        "sigmas": wanted.sigmas,
        **({} if wanted.max_sequence_length is None else {"max_sequence_length": wanted.max_sequence_length}),
    }


@contextmanager
def _decoded(vae: Any) -> Iterator[list[Tensor]]:
    """Collects what the VAE's decoder is given."""
    given: list[Tensor] = []
    hook = vae.decoder.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].detach().clone()))
    try:
        yield given
    finally:
        hook.remove()


def read_config(controlnet: str) -> Any:
    """The config of a ControlNet, by its name."""
    return make_z_image_controlnet(controlnet.rpartition("-")[2]).config


@contextmanager
def worlds(servers: Settings, folder: Path) -> Iterator[dict[str, World]]:
    """A world for each of `DTYPES`; a ControlNet worker computes with copies of the base models' layers."""

    def load_model(dtype: str) -> BaseModel:
        return ZImageModel(dtype, make_z_image().to(getattr(torch, dtype)))

    models = ModelCache(load_model, DeviceMemory(1 << 40))

    def load_controlnet(name: str) -> ControlNet:
        dtype, _, kind = name.partition("-")
        with models.use(dtype) as model:
            model.patcher.restore()
            transformer = copy.deepcopy(model.pipe.transformer)
        own = make_z_image_controlnet(kind).to(transformer.dtype)
        own = ZImageControlNetModel.from_transformer(own, transformer)
        return ZImageControlNet(name, own, Z_IMAGE, transformer.config)

    controlnets = ModelCache(load_controlnet, DeviceMemory(1 << 40), lambda name: 1)
    names = [f"{dtype}-{kind}" for dtype in DTYPES for kind in KINDS]

    with ExitStack() as stack:
        make = stack.enter_context(worker_maker(servers, models, controlnets, names, folder))
        worker = dataclasses.replace(make(), controlnet_configs=ControlNetConfigs(read_config))
        yield {dtype: World(dtype, worker) for dtype in DTYPES}
