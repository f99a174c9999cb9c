"""Tiny models of one transformer family on disk, a worker that serves them, and what their VAE decodes."""

import dataclasses
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from shared.catalog.catalog import read_catalog
from shared.jobs.options import LoraLoading
from shared.jobs.record import Job
from shared.jobs.spec import ControlNetSpec, JobSpec
from shared.keys import LOCAL
from shared.settings import Settings
from tests.diffusers_peer import mask_image, source_image
from tests.workers.conftest import worker_maker
from tests.workers.unet.jobs import control, store_image
from workers.families.base import BaseModel
from workers.families.controlnet_configs import ControlNetConfigs, config_reader
from workers.families.load_base_model import load_entry
from workers.families.load_controlnet import controlnet_cache
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.unet.job import execute_job
from workers.unet.worker import UNetWorker

#: Which steps a ControlNet guides: schedulers of several steps carry what it did over to those after it.
PARTS: dict[str, dict[str, float]] = {"all": {}, "middle": {"guidance_start": 0.2, "guidance_end": 0.7}}
#: What a scheduler is tested with in one type of numbers, and in the other; ``None``: without a ControlNet.
SCHEDULED_PARTS: list[list[str | None]] = [[None, "middle"], ["all"]]


@dataclass(frozen=True)
class Decoded:
    """Images, ``(h, w, 3)`` each, and the latents that the VAE's decoder was given."""

    pixels: list[NDArray[np.int16]]
    latents: list[Tensor]

    def has_bits_of(self, other: "Decoded") -> bool:
        """Whether both are equal, bit for bit; something that is all zeros or NaN is equal to nothing."""
        pairs = list(zip(self.latents, other.latents, strict=True))
        varies = all(bool(a.isfinite().all()) and float(a.float().std()) > 0 for a, _ in pairs)
        return (
            bool(pairs)
            and varies
            and all(torch.equal(a, b) for a, b in pairs)
            and all(map(np.array_equal, self.pixels, other.pixels))
        )


@dataclass(frozen=True)
class TransformerWorld:
    """A worker beside a ControlNet server; diffusers is given the very same models."""

    worker: UNetWorker
    settings: Settings
    load: Callable[[str], BaseModel]
    dtype: str
    #: What `without_controlnets` has generated, by the job.
    plain: dict[str, Decoded] = field(default_factory=dict, compare=False)

    def spec(self, **changes: Any) -> JobSpec:
        """An exact job of a few steps; T5's usual number of tokens would take most of its time."""
        values: dict[str, Any] = {
            "model": "base",
            "prompt": "a red cat on a blue background",
            "width": 64,
            "height": 48,
            "num_inference_steps": 3,
            "guidance_scale": 3.5,
            "max_sequence_length": 64,
            "scheduler": "flow_match_euler",
            "seed": 7,
            "num_images": 1,
            "controlnets": [],
            "loras": [],
            "lora_loading": LoraLoading(mode="exact"),
        }
        return JobSpec.model_validate(values | changes)

    def control(self, name: str, **changes: Any) -> ControlNetSpec:
        """A ControlNet of a job, with the control image of `tests.diffusers_peer.CONTROL`."""
        return control(self.worker, name, **changes)

    def image(self, **changes: Any) -> dict[str, Any]:
        """Fields of a job that begins from `source_image`."""
        return {"image": store_image(self.worker, source_image()), "strength": 0.7, **changes}

    def mask(self, **changes: Any) -> dict[str, Any]:
        """Fields of a job that begins from `source_image` and keeps what `mask_image` says."""
        return self.image(mask_image=store_image(self.worker, mask_image()), **changes)

    def inpainting(self, *controlnets: str, **changes: Any) -> dict[str, Any]:
        """Fields of a job whose image and mask these ControlNets are shown."""
        masked = self.mask(strength=1.0)
        shown = [self.control(name, image=masked["image"], **changes) for name in controlnets]
        return {**masked, "controlnets": shown}

    def ours(self, spec: JobSpec) -> Decoded:
        """What a worker generates; raises what it refuses the job with."""
        return self.run(spec)[1]

    def without_controlnets(self, spec: JobSpec) -> Decoded:
        """What a worker generates without the job's ControlNets, once for all equal jobs."""
        plain = spec.model_copy(update={"controlnets": []})
        key = plain.model_dump_json()
        if key not in self.plain:
            self.plain[key] = self.ours(plain)
        return self.plain[key]

    def run(self, spec: JobSpec, worker: UNetWorker | None = None) -> tuple[Job, Decoded]:
        """The job that ``worker`` runs."""
        worker = worker or self.worker
        with worker.models.use(spec.model) as model:
            model.latents.prepare_preview()  # once a model, it decodes too
            with decoded(model.parts["vae"]) as latents:
                job_id, _ = worker.jobs.create(spec, tenant=LOCAL)
                execute_job(worker, job_id, "unet1@test")
        job = worker.jobs.get(job_id)
        assert job.status == "succeeded", job.error
        pngs = [worker.images.get(image.key) for image in job.images]
        pixels = [np.asarray(Image.open(io.BytesIO(png)), dtype=np.int16) for png in pngs]
        return job, Decoded(pixels, latents)

    @contextmanager
    def scheduler_of_diffusers(self, model: str, options: Mapping[str, Any]) -> Iterator[None]:
        """The pipeline of a model with its stored scheduler, as a user changes that by ``options``."""
        stored = self.settings.catalog.parent / model / "scheduler/scheduler_config.json"
        config = json.loads(stored.read_text())
        scheduler = getattr(diffusers, config["_class_name"]).from_config(config, **options)
        with self.worker.models.use(model) as loaded:
            pipe: Any = vars(loaded)["pipe"]
            ours, pipe.scheduler = pipe.scheduler, scheduler
            try:
                yield
            finally:
                pipe.scheduler = ours

    @contextmanager
    def models(self, spec: JobSpec) -> Iterator[tuple[Any, list[Any]]]:
        """The pipeline of a job's model, and its ControlNets as diffusers has them; one thread.

        Nothing is loaded meanwhile: that may change torch's default type, which pipelines use.
        """
        torch.set_num_threads(1)  # as a worker's: the order of float sums depends on it
        with self.worker.models.use(spec.model) as model:
            control_nets = []
            for one in spec.controlnets:
                with self.worker.controlnets.use(one.name) as controlnet:
                    control_nets.append(controlnet.model)
            pipe: Any = vars(model)["pipe"]  # of every transformer
            with self.worker.models.memory.one_load_at_a_time():
                yield pipe, control_nets


@contextmanager
def decoded(vae: Any) -> Iterator[list[Tensor]]:
    """Collects what the decoder of a VAE is given."""
    heard: list[Tensor] = []
    hook = vae.decoder.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0].detach().clone()))
    try:
        yield heard
    finally:
        hook.remove()


@contextmanager
def make_world(
    servers: Settings,
    folder: Path,
    models: Mapping[str, Any],
    controlnets: Mapping[str, tuple[str, Any]],
    dtype: str,
    entries: Mapping[str, str] | None = None,
) -> Iterator[TransformerWorld]:
    """A world of pipelines by name, and of ControlNets with the name of their base model.

    ``entries``: of models, by name, more lines of their entries.
    """
    settings = servers.model_copy(update={"catalog": folder / "catalog.toml", "home": folder / "home"})
    lines = [f"default_model = {json.dumps(next(iter(models)))}"]
    for name, pipe in models.items():
        pipe.save_pretrained(folder / name)
        lines += [f"[models.{name}]", f'source = "{name}"', f'dtype = "{dtype}"']
        lines += ['scheduler = "flow_match_euler"', (entries or {}).get(name, "")]
    for name, (base, controlnet) in controlnets.items():
        controlnet.save_pretrained(folder / name)
        lines += [f"[controlnets.{name}]", f'source = "{name}"', f'model = "{base}"']
    settings.catalog.write_text("\n".join(lines))
    catalog = read_catalog(settings.catalog)

    def load(name: str) -> BaseModel:
        return load_entry(name, catalog.models[name], settings.catalog, "cpu")

    # Of one memory, as in a worker: then one is loaded at a time. Libraries change torch's default type then.
    memory = DeviceMemory(1 << 40)
    loaded = ModelCache(load, memory)
    control_nets = controlnet_cache(catalog, settings, memory)
    with worker_maker(settings, loaded, control_nets, list(controlnets), folder) as make:
        configs = ControlNetConfigs(config_reader(catalog, settings))
        worker = dataclasses.replace(make(), controlnet_configs=configs)
        yield TransformerWorld(worker, settings, load, dtype)
