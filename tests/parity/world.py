"""What a row runs on: the web, a worker, and the same models for diffusers."""

import io
import json
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from api.schemas.job_request import JobRequest
from api.services import Services, connect
from shared.catalog.catalog import read_catalog
from shared.jobs.spec import JobSpec
from shared.keys import LOCAL
from shared.settings import Settings
from tests.api.services import resolved
from tests.diffusers_peer import generate_with_diffusers
from tests.parity.axes import FAMILIES
from tests.parity.fused import FusedPipelines, weights_of, write_lora
from tests.parity.rows import Row
from tests.transformers_peer import generate_with_transformer
from tests.workers.conftest import worker_maker
from workers.families.base import BaseModel
from workers.families.base_controlnet import ControlNet
from workers.families.controlnet_configs import ControlNetConfigs, config_reader
from workers.families.load_base_model import load_entry
from workers.families.load_controlnet import controlnet_cache
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.unet.job import execute_job
from workers.unet.worker import UNetWorker


@dataclass(frozen=True)
class Generated:
    """Images, ``(h, w, 3)`` each, and what the VAE was given, ``(n, c, h/f, w/f)``."""

    pixels: list[NDArray[np.int16]]
    latents: list[Tensor]


@dataclass(frozen=True)
class World:
    """Models on disk, a catalog that names them, the web that accepts jobs, a worker that runs them."""

    services: Services
    worker: UNetWorker
    controlnets: ModelCache[ControlNet]
    fused: FusedPipelines
    #: What `images` has generated.
    generated: dict[Row, list[bytes]] = field(default_factory=dict, compare=False)

    def images(self, row: Row) -> list[bytes]:
        """Pixels of the images that a worker generates for a row, once for each row."""
        if row not in self.generated:
            self.generated[row] = [image.tobytes() for image in self.ours(self.accept(row)).pixels]
        return self.generated[row]

    def accept(self, row: Row) -> JobSpec:
        """The job, as the web accepts it; raises what the request is refused with."""
        return resolved(JobRequest.model_validate(row.body), self.services)

    def ours(self, spec: JobSpec) -> Generated:
        """What a worker generates; raises what it refuses the job with."""
        with self.worker.models.use(spec.model) as model:
            model.latents.prepare_preview()  # once a model, it decodes too
            with _heard(model.pipe) as latents:
                job_id, _ = self.worker.jobs.create(spec, tenant=LOCAL)
                execute_job(self.worker, job_id, "unet1@test")
        pngs = [self.worker.images.get(image.key) for image in self.worker.jobs.get(job_id).images]
        return Generated([np.asarray(Image.open(io.BytesIO(png)), dtype=np.int16) for png in pngs], latents)

    def weights(self, spec: JobSpec) -> dict[str, Tensor]:
        """The weights of a job's model as they are: with the LoRAs of the job that `ours` has run last."""
        with self.worker.models.use(spec.model) as model:
            return weights_of(model.pipe)

    def fused_weights(self, spec: JobSpec) -> dict[str, Tensor]:
        """The same weights as diffusers fuses a job's LoRAs into them."""
        with self.worker.models.use(spec.model) as model:
            model.patcher.restore()
            return weights_of(self.fused.get(spec.model, model.pipe, spec.loras))

    def theirs(self, spec: JobSpec) -> Generated:
        """What diffusers generates with the very same models, and with the LoRAs that `ours` left in them."""
        with ExitStack() as stack:
            model = stack.enter_context(self.worker.models.use(spec.model))
            controlnets = [
                stack.enter_context(self.controlnets.use(controlnet.name)).model
                for controlnet in spec.controlnets
            ]
            if not spec.loras:
                model.patcher.restore()  # of an earlier job's LoRAs: they stay until the next one
            width, height = model.size(spec.width, spec.height)
            sized = spec.model_copy(update={"width": width, "height": height})
            is_unet = hasattr(model.pipe, "unet")
            generate = generate_with_diffusers if is_unet else generate_with_transformer
            # Pipelines make tensors of torch's default type, which a load of half precision changes for all
            # threads: Qwen-Image's mean and deviation of latents would be rounded.
            stack.enter_context(self.worker.models.memory.one_load_at_a_time())
            assert torch.get_default_dtype() is torch.float32
            latents = stack.enter_context(_heard(model.pipe))
            return Generated(generate(model.pipe, controlnets, sized), latents)


@contextmanager
def _heard(pipe: Any) -> Iterator[list[Tensor]]:
    """Collects what the VAE's first layer is given."""
    heard: list[Tensor] = []
    vae = pipe.vae
    first = vae.post_quant_conv or vae.decoder.conv_in  # some have none
    hook = first.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0].detach().clone()))
    try:
        yield heard
    finally:
        hook.remove()


@contextmanager
def make_world(servers: Settings, folder: Path, rows: Collection[Row]) -> Iterator[World]:
    """Make the models, ControlNets and LoRAs of ``rows`` in ``folder``, and load them as the fleet does."""
    settings = servers.model_copy(update={"catalog": _write_models(folder, rows), "home": folder / "home"})
    catalog = read_catalog(settings.catalog)

    def load(name: str) -> BaseModel:
        return load_entry(name, catalog.models[name], settings.catalog, "cpu")

    services = connect(settings, catalog)
    for path in folder.glob("*.safetensors"):
        services.loras.put(path.name, path.read_bytes(), content_type="application/octet-stream")
    memory = DeviceMemory(1 << 40)  # one, as a worker has: then one is loaded at a time
    models, controlnets = ModelCache(load, memory), controlnet_cache(catalog, settings, memory)
    with worker_maker(settings, models, controlnets, list(catalog.controlnets), folder) as make:
        configs = ControlNetConfigs(config_reader(catalog, settings))
        worker = replace(make(), controlnet_configs=configs)
        yield World(services, worker, controlnets, FusedPipelines(folder))


def _write_models(folder: Path, rows: Collection[Row]) -> Path:
    named = {name for row in rows for name in _names(row)}
    lines = [f'default_model = "{min(row.family for row in rows)}"']
    for name in sorted({row.family for row in rows}):
        family = FAMILIES[name]
        pipe: Any = family.make()
        pipe.save_pretrained(folder / name)
        lines += [f"[models.{json.dumps(name)}]", f'source = "{name}"', f'dtype = "{family.dtype}"']
        lines += [f"{key} = {json.dumps(value)}" for key, value in family.loading.items()]
        for seed, controlnet in enumerate(family.axes.controlnet_names):
            if f"{name}-{controlnet}" not in named:
                continue
            made = family.axes.make_controlnet(controlnet, pipe, seed)
            if made is None:
                continue
            made.save_pretrained(folder / f"{name}-{controlnet}")
            lines += [
                f"[controlnets.{json.dumps(f'{name}-{controlnet}')}]",
                f'source = "{name}-{controlnet}"',
                f'model = "{name}"',
            ]
        for lora in family.axes.lora_names:
            if f"{name}-{lora}" in named:
                write_lora(family.axes.lora_forms[lora], pipe, folder / f"{name}-{lora}.safetensors")
    path = folder / "catalog.toml"
    path.write_text("\n".join(lines))
    return path


def _names(row: Row) -> list[str]:
    """The ControlNets and LoRAs of a row."""
    body = row.body
    return [named["name"] for named in (*body["controlnets"], *body["loras"])]
