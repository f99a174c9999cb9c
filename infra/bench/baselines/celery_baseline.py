"""The fleet people build today: a diffusers pipeline inside a plain Celery worker.

It serves the default model of the catalog, with its ControlNets. Nothing is crippled: model and ControlNets
stay loaded, files that were fetched stay on the disk, and LoRAs are loaded, fused, unfused and unloaded by
diffusers' own calls. Started with ``celery -A infra.bench.baselines.celery_baseline worker``.
"""

import io
import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import redis
import torch
from celery import Celery
from diffusers import AutoPipelineForText2Image, ControlNetModel, DiffusionPipeline
from PIL import Image

from infra.bench.baselines.celery_fleet import GENERATE, QUEUE, RESULTS
from infra.emoji_files import CONTROL
from shared.catalog.catalog import read_catalog
from shared.catalog.entries import locate
from shared.keys import LOCAL
from shared.settings import read_settings
from shared.storage.loras import lora_key
from shared.storage.object_store import Bucket

settings = read_settings()
catalog = read_catalog(settings.catalog, settings)
entry = catalog.models[catalog.default_model]
app = Celery("baseline", broker=settings.redis_url)
app.conf.update(
    task_default_queue=QUEUE, task_ignore_result=True, worker_prefetch_multiplier=1, task_acks_late=True
)


@app.task(name=GENERATE)
def generate(job: dict[str, Any]) -> None:
    """Generate one request and store its image."""
    loras, images = Bucket(settings, settings.lora_bucket), Bucket(settings, settings.image_bucket)
    pipe = _pipeline([name for name, _ in job["controlnets"]])
    names = [name for name, _ in job["loras"]]
    for name in names:
        pipe.load_lora_weights(str(_fetched(loras, name)), adapter_name=name)
    if names:
        pipe.set_adapters(names, [scale for _, scale in job["loras"]])
        pipe.fuse_lora(adapter_names=names)
    options: dict[str, Any] = {}
    if side_px := job.get("side_px"):
        options |= {"width": side_px, "height": side_px}
    if job["controlnets"]:
        control = Image.open(CONTROL).convert("RGB")
        options["image"] = [control] * len(job["controlnets"])
        options["controlnet_conditioning_scale"] = [scale for _, scale in job["controlnets"]]
    generator = torch.Generator().manual_seed(job["seed"])
    try:
        image: Image.Image = pipe(
            job["prompt"],
            num_inference_steps=job["steps"],
            guidance_scale=job["guidance_scale"],
            generator=generator,
            **options,
        ).images[0]
    finally:
        if names:
            pipe.unfuse_lora()
            pipe.unload_lora_weights()
    png = io.BytesIO()
    image.save(png, "PNG")
    key = f"baseline/{job['seed']}.png"
    images.put(key, png.getvalue(), content_type="image/png")
    outcome = {"seed": job["seed"], "key": key, "ended_at": time.time()}
    redis.Redis.from_url(settings.redis_url).rpush(RESULTS, json.dumps(outcome))


@cache
def _base() -> Any:
    torch.set_num_threads(settings.threads_per_worker)
    diffusers.utils.logging.disable_progress_bar()
    options = {"safety_checker": None, "requires_safety_checker": False} if _has_checker() else {}
    pipe = DiffusionPipeline.from_pretrained(_model(), dtype=_dtype(), **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(settings.device)


@cache
def load_controlnet(name: str) -> Any:
    """A ControlNet of the catalog, kept loaded."""
    source = locate(settings.catalog, catalog.controlnets[name].source)
    return ControlNetModel.from_pretrained(source, dtype=_dtype()).to(settings.device)


def _pipeline(controlnets: list[str]) -> Any:
    pipe = _base()
    if controlnets:
        pipe = AutoPipelineForText2Image.from_pipe(
            pipe, controlnet=[load_controlnet(name) for name in controlnets]
        )
        pipe.set_progress_bar_config(disable=True)
    return pipe


def _model() -> Path:
    return locate(settings.catalog, entry.source)


def _has_checker() -> bool:
    return "safety_checker" in json.loads((_model() / "model_index.json").read_text())


def _dtype() -> torch.dtype:
    dtype: torch.dtype = getattr(torch, entry.dtype)
    return dtype


def _fetched(loras: Bucket, name: str) -> Path:
    """The file on this host, fetched once."""
    path = settings.home / "baseline" / lora_key(name, tenant=LOCAL)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{time.time_ns()}")
        new.write_bytes(loras.get(lora_key(name, tenant=LOCAL)))
        new.replace(path)
    return path
