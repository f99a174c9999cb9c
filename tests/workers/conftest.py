"""A UNet worker in this process, beside a real ControlNet server thread, real Redis and real S3."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from redis import Redis

from shared.jobs.store import JobStore
from shared.messaging.messages import AttachControlNet
from shared.redis_clients import control_redis, residual_servers
from shared.registry.live_workers import LiveWorkersCache
from shared.registry.workers import Heartbeat, publish_heartbeat, remove_worker
from shared.settings import Settings
from tests.left_threads import left_threads
from tests.tiny_models import EMOJI, LAYOUTS, make_controlnet, make_pipeline
from tests.workers.buckets import shared_bucket
from workers.controlnet_serving.server import ControlNetServer
from workers.devices.selection import find_device
from workers.families.base import BaseModel
from workers.families.base_controlnet import ControlNet
from workers.families.load_base_model import load_model
from workers.families.load_controlnet import load_controlnet
from workers.families.unet.controlnet import UNetControlNet
from workers.families.unet.loading import unet_model
from workers.lora.cache.cache import LoraCache
from workers.lora.memory import LoraMemory
from workers.runtime.activity.device_activity import DeviceActivity
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.transport.backends.base import TransportBackend
from workers.transport.backends.selection import build_backends
from workers.transport.redis_client.pool import ConnectionPool
from workers.transport.step_queue import StepQueue
from workers.transport.transport import ResidualTransport
from workers.unet.checkpoints.store import CheckpointStore
from workers.unet.embeddings.prompt_encoder import PromptEncoder
from workers.unet.embeddings.shared_embeddings import SharedEmbeddings
from workers.unet.worker import UNetWorker

COUNTER = itertools.count()
SERVED = ("edge", *(f"{layout}-net" for layout in LAYOUTS))


def load(name: str) -> BaseModel:
    if name == "emoji-sd":
        return load_model(name, str(EMOJI / "model"), "float32", "cpu")
    return unet_model(name, make_pipeline(name))


@pytest.fixture(autouse=True)
def leaves_no_thread() -> Iterator[None]:
    """A test that leaves a thread behind fails, not those after it which the thread disturbs."""
    before = threading.enumerate()
    yield
    left = left_threads(before)
    assert not left, f"still running: {', '.join(left)}"


@pytest.fixture(scope="session")
def models() -> ModelCache[BaseModel]:
    """The embedded model, and tiny random ones by the names of their layouts."""
    return ModelCache(load, DeviceMemory(1 << 40))


@pytest.fixture(scope="session")
def controlnets(models: ModelCache[BaseModel]) -> ModelCache[ControlNet]:
    """The embedded ControlNet, and ``LAYOUT-controlnet`` for the tiny models."""

    def load(name: str) -> ControlNet:
        if name == "edge":
            return load_controlnet(name, str(EMOJI / "controlnets" / "edge"), "float32", "cpu")
        with models.use(name.removesuffix("-net")) as model:
            return UNetControlNet(name, make_controlnet(model.pipe.unet))

    return ModelCache(load, DeviceMemory(1 << 40), lambda name: 1)


@pytest.fixture
def pristine(models: ModelCache[BaseModel]) -> Iterator[None]:
    """After every kind of job, in every test that asks: base weights bit-equal once they are taken back."""
    with models.use("emoji-sd") as model:
        parts = {"unet": model.pipe.unet, "text_encoder": model.pipe.text_encoder}
        model.patcher.restore()
        before = {part: {k: v.clone() for k, v in m.state_dict().items()} for part, m in parts.items()}
        yield
        model.patcher.restore()
        for part, module in parts.items():
            for name, weight in module.state_dict().items():
                assert torch.equal(weight, before[part][name]), f"{part}.{name} was left changed"


@pytest.fixture
def make_worker(
    servers: Settings,
    models: ModelCache[BaseModel],
    controlnets: ModelCache[ControlNet],
    residual: Redis,
    tmp_path: Path,
) -> Iterator[Callable[..., UNetWorker]]:
    """Builds a worker; ``serve_controlnets=False`` leaves it without a ControlNet worker.

    With one it holds no ControlNets itself, so that steps go where the test says. ``preferred_backends`` are
    tried before the transport's own; other keywords are settings.
    """
    residual.flushall()
    with worker_maker(servers, models, controlnets, SERVED, tmp_path) as make:
        yield make


@contextmanager
def worker_maker(
    servers: Settings,
    models: ModelCache[BaseModel],
    controlnets: ModelCache[ControlNet],
    served: Sequence[str],
    folder: Path,
) -> Iterator[Callable[..., UNetWorker]]:
    """What `make_worker` builds with: workers for ``models``, beside servers of the ControlNets
    ``served``."""
    started: list[ControlNetServer] = []
    residual, control = residual_servers(servers)[0], control_redis(servers)

    def make(
        *,
        serve_controlnets: bool = True,
        preferred_backends: Sequence[TransportBackend] = (),
        **changes: object,
    ) -> UNetWorker:
        settings, device = servers.model_copy(update=changes), find_device("cpu")
        backends = [*preferred_backends, *build_backends(ConnectionPool([residual]), settings, device)]
        steps = StepQueue(residual, settings)
        transport = ResidualTransport([residual], settings, backends=backends)
        server = ControlNetServer(
            list(served),
            controlnets,
            StepQueue(residual, settings),
            transport,
            settings.controlnet_batch_delay,
        )

        def attach(messages: Sequence[AttachControlNet], name: str) -> None:
            for message in messages if serve_controlnets else ():
                server.attach(message)

        if serve_controlnets:
            while started:  # the new one serves the workers before, too: they share the ControlNets
                started.pop().stop()
            server.start("controlnet1@test")
            started.append(server)
            publish_heartbeat(control, _heartbeat(served), ttl_s=3600)
        return UNetWorker(
            settings=settings,
            jobs=JobStore(control_redis(settings), settings),
            live_workers=LiveWorkersCache(control_redis(settings), cache_s=0),
            facts_of=lambda model: None,
            serves=["emoji-sd", *LAYOUTS],
            served_controlnets=[] if serve_controlnets else list(served),
            images=shared_bucket(settings, settings.image_bucket),
            loras=LoraCache(
                folder / f"loras{next(COUNTER)}",
                settings.lora_cache_bytes,
                shared_bucket(settings, settings.lora_bucket),
                settings.lora_wait_s,
            ),
            lora_memory=LoraMemory(settings.lora_memory_bytes),
            models=models,
            controlnets=controlnets,
            steps=steps,
            transport=transport,
            send_attach=attach,
            send_follow=lambda message, model, expires_s: None,
            residual=residual,
            checkpoints=CheckpointStore(residual, settings),
            activity=DeviceActivity(),
            prompts=PromptEncoder(SharedEmbeddings(residual, settings)),
        )

    try:
        yield make
    finally:
        for server in started:
            server.stop()
        remove_worker(control, "controlnet1@test")


def _heartbeat(served: Sequence[str]) -> Heartbeat:
    """Says that the server of this process is alive."""
    return Heartbeat(
        name="controlnet1@test",
        kind="controlnet",
        host="here",
        pid=1,
        device="cpu",
        serves=list(served),
        loaded=[],
        jobs=[],
        utilization=0.0,
        started_at=0.0,
        version="0",
    )
