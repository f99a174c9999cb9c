"""Builds a UNet worker from its settings and catalog: the one place that chooses its collaborators."""

import threading
from functools import partial

from celery import Celery

from shared.catalog.entries import Catalog
from shared.catalog.model_families import ModelFamilies
from shared.catalog.step_bytes import largest_step_bytes_of_models
from shared.errors import ModelFailed
from shared.jobs.store import JobStore
from shared.redis_clients import control_redis, residual_servers, with_timeout
from shared.registry.live_workers import LiveWorkersCache
from shared.settings import Settings
from shared.storage.image_bucket import ImageBucket
from shared.storage.object_store import Bucket
from workers.devices.selection import find_device
from workers.engines.selection import make_engines
from workers.families.base import BaseModel
from workers.families.controlnet_configs import ControlNetConfigs, config_reader
from workers.families.engine_memory import with_engines
from workers.families.load_base_model import download_entry, load_entry, load_entry_text_encoder
from workers.families.load_controlnet import controlnet_cache
from workers.families.text_encoder_weights import TextEncoderWeights
from workers.lora.cache.cache import CACHE_FOLDER, LoraCache
from workers.lora.memory import LoraMemory
from workers.model_checks.entry_options import option_problem
from workers.runtime.activity.device_activity import DeviceActivity
from workers.runtime.budgets.memory_budget import HOST_BYTES
from workers.runtime.device_loss import DeviceLoss
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.runtime.watchdog import Watchdog
from workers.runtime.weights.hash_cache import HASH_FOLDER, HashCache
from workers.transport.redis_client.blocking_pop import REPLY_S
from workers.transport.step_queue import StepQueue
from workers.transport.transport import ResidualTransport
from workers.unet.cfg_parallel.offer import send_follow
from workers.unet.checkpoints.store import CheckpointStore
from workers.unet.controlnet.attach import send_attach
from workers.unet.embeddings.encoding_requests import EncodingRequests, send_encode
from workers.unet.embeddings.prompt_encoder import PromptEncoder
from workers.unet.embeddings.shared_embeddings import SharedEmbeddings
from workers.unet.embeddings.text_encoders import TextEncoders
from workers.unet.process.model_sizes import ModelSizes
from workers.unet.worker import UNetWorker


def build_worker(
    settings: Settings, catalog: Catalog, serves: list[str], served_controlnets: list[str], celery: Celery
) -> UNetWorker:
    """A worker for the models ``serves`` of the catalog, which may load ``served_controlnets``.

    It sends its messages by ``celery``.

    No model is loaded and no thread started yet.
    """
    redis, residuals = control_redis(settings), residual_servers(settings)
    residual = with_timeout(residuals[0], REPLY_S)  # it is waited for at lists
    jobs = JobStore(redis, settings)
    live_workers = LiveWorkersCache(jobs.renewal_redis)
    device, stopping = find_device(settings.device), threading.Event()
    memory = DeviceMemory(HOST_BYTES, device, stopping=stopping)  # until the device is asked, at the start
    sizes = ModelSizes(settings, catalog, memory)
    return UNetWorker(
        settings=settings,
        jobs=jobs,
        live_workers=live_workers,
        facts_of=ModelFamilies(settings.catalog, catalog).facts,
        serves=serves,
        served_controlnets=served_controlnets,
        images=ImageBucket(settings, redis),
        loras=LoraCache(
            settings.home / CACHE_FOLDER,
            settings.lora_cache_bytes,
            Bucket(settings, settings.lora_bucket, attempts=1),  # the cache retries by itself
            settings.lora_wait_s,
        ),
        lora_memory=LoraMemory(settings.lora_memory_bytes),
        models=_model_cache(settings, catalog, memory, sizes),
        controlnets=controlnet_cache(catalog, settings, memory, compiles=False),
        controlnet_configs=ControlNetConfigs(
            config_reader(catalog, settings),
            {name: entry.models[0] for name, entry in catalog.controlnets.items()},
        ),
        steps=StepQueue(residuals[0], settings, device),
        transport=ResidualTransport(
            residuals,
            settings,
            device=device,
            step_bytes=largest_step_bytes_of_models(catalog, settings.catalog, serves),
        ),
        send_attach=partial(send_attach, celery, redis, live_workers),
        send_follow=partial(send_follow, celery, redis),
        residual=residual,
        checkpoints=CheckpointStore(residuals[0], settings),
        activity=DeviceActivity(),
        prompts=PromptEncoder(
            SharedEmbeddings(residuals[0], settings), _text_encoders(settings, catalog, memory, sizes)
        ),
        encoding_requests=EncodingRequests(
            redis, live_workers, residual, partial(send_encode, celery, redis)
        ),
        device=device,
        device_loss=DeviceLoss(device),
        stopping=stopping,
        watchdog=Watchdog(settings.stuck_grace_s, loading_since=lambda: memory.loading_since),
    )


def _model_cache(
    settings: Settings, catalog: Catalog, memory: DeviceMemory, sizes: ModelSizes
) -> ModelCache[BaseModel]:
    hashes = HashCache(settings.home / HASH_FOLDER)

    def make_room(name: str) -> None:
        """For text encoders that are only read to be hashed: they are read into the host's memory."""
        if not memory.device.has_own_memory:
            memory.make_room(sizes.apart_bytes(name))

    def load(name: str) -> BaseModel:
        model = load_entry(
            name,
            catalog.models[name],
            settings.catalog,
            settings.device,
            hashes,
            without_text_encoders=sizes.is_apart(name),
            make_room=partial(make_room, name),
        )
        if why := option_problem(model.facts, catalog.models[name]):
            raise ModelFailed(f"model {name!r}: {why}")
        model.patcher.keep_pristine(settings.pristine)
        model.engines = make_engines(catalog.models[name].engine, name, memory.device, settings.home)
        return model

    def download(name: str) -> None:
        download_entry(name, catalog.models[name], settings.catalog)

    return with_engines(ModelCache(load, memory, sizes.estimate_bytes, download), memory)


def _text_encoders(
    settings: Settings, catalog: Catalog, memory: DeviceMemory, sizes: ModelSizes
) -> TextEncoders:
    hashes = HashCache(settings.home / HASH_FOLDER)

    def load(name: str, part: str) -> TextEncoderWeights:
        entry = catalog.models[name]
        return load_entry_text_encoder(name, part, entry, settings.catalog, settings.device, hashes)

    return TextEncoders(memory, load, sizes.is_apart)
