"""Tiny ControlNets, jobs that use them, and diffusers' residuals of the same: for tests of both ends."""

import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, cast

import torch
from diffusers import MultiControlNetModel
from prometheus_client import REGISTRY
from redis import Redis
from torch import Tensor

from shared.families.base import FamilyFacts
from shared.families.unet import SD1
from shared.jobs.options import LoraLoading, Precision
from shared.jobs.spec import ControlNetSpec
from shared.keys import LOCAL, controlnet_steps
from shared.redis_clients import control_redis
from shared.registry.controlnet_servers import Served
from shared.registry.live_workers import LiveWorkersCache
from shared.settings import Settings
from tests.infra.local.waiting import eventually
from tests.tiny_models import make_controlnet, make_unet
from tests.workers.running import running
from tests.workers.unet.specs import spec as job_spec
from workers.controlnet_serving.server import ControlNetServer
from workers.devices.base import Device, HostCopy
from workers.devices.selection import find_device
from workers.families.base import BaseModel
from workers.families.guidance import CFGBranch
from workers.families.unet.controlnet import UNetControlNet
from workers.lora.patch import Patcher
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.transport.protocol import QueuedStep
from workers.transport.step_queue import ClaimedStep, StepQueue
from workers.transport.transport import ResidualTransport
from workers.unet.attempt_context import AttemptContext
from workers.unet.controlnet.claims.local_choice import LocalChoice
from workers.unet.controlnet.claims.overdue_steps import OverdueSteps
from workers.unet.controlnet.client import ControlNetClient
from workers.unet.controlnet.first_residual_timer import FirstResidualTimer
from workers.unet.controlnet.residency import ControlNetResidency
from workers.unet.controlnet.step_residuals import StepResiduals
from workers.unet.output.replay import NO_REPLAY, Replay
from workers.unet.timeline import Timeline
from workers.unet.worker import UNetWorker

UNET = make_unet()
MODELS = {
    "edge": make_controlnet(UNET, 1),
    "depth": make_controlnet(UNET, 2),
    "colour": make_controlnet(UNET, 3),
}
#: The number of the mid block's residual.
MID = len(MODELS["edge"].controlnet_down_blocks)
MODELS["pooled"] = make_controlnet(UNET, 4, global_pool_conditions=True)
JOBS = itertools.count()
EMBEDDINGS = torch.randn(2, 32, 128, generator=torch.Generator().manual_seed(8))
X = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(9))


class Line(NamedTuple):
    """One end of the residual transport."""

    redis: Redis
    settings: Settings
    steps: StepQueue
    transport: ResidualTransport


class WatchedQueue(StepQueue):
    """Tells whether its server waits for a step."""

    is_waiting = False

    def pop(self, controlnets: Sequence[str]) -> QueuedStep | None:
        """See `StepQueue`."""
        self.is_waiting = True
        try:
            return super().pop(controlnets)
        finally:
            self.is_waiting = False


def exact_steps(line: Line, name: str) -> str:
    """The queue of a ControlNet's steps of exact jobs, as `make_job` makes by default."""
    return controlnet_steps(name, line.steps.platform_digest)


def load_all(controlnets: ModelCache[Any], *names: str) -> None:
    """Load ControlNets, or others of a cache, which nobody uses then."""
    for name in names:
        with controlnets.use(name):
            pass


def load_controlnets() -> ModelCache[UNetControlNet]:
    return ModelCache(lambda name: UNetControlNet(name, MODELS[name]), DeviceMemory(1 << 30), lambda name: 1)


def make_line(redis: Redis, settings: Settings, device: Device | None = None) -> Line:
    transport = ResidualTransport([redis], settings, device=device)
    return Line(redis, settings, StepQueue(redis, settings), transport)


def make_server(
    line: Line,
    *names: str,
    controlnets: ModelCache[UNetControlNet] | None = None,
    device: Device | None = None,
) -> ControlNetServer:
    """A ControlNet worker that holds the ControlNets ``names``, a claimant other than ``line``."""
    controlnets = controlnets or load_controlnets()
    load_all(controlnets, *names)
    own = make_line(line.redis, line.settings, device)
    return ControlNetServer(
        names, controlnets, own.steps, own.transport, line.settings.controlnet_batch_delay
    )


def claim_next(steps: StepQueue, *controlnets: str) -> ClaimedStep:
    """Claim the oldest step that waits for one of these ControlNets, as a worker does that holds them."""
    queued = steps.pop(controlnets)
    assert queued is not None
    claimed = steps.claim(queued)
    assert claimed is not None
    return claimed


def compute(server: ControlNetServer, batch: list[ClaimedStep]) -> None:
    """Have a server that was not started compute these steps and send their residuals."""
    with running(server.sender):
        server.serve(batch)


def spec(name: str, **changes: Any) -> ControlNetSpec:
    values = {
        "name": name,
        "image": name,
        "conditioning_scale": 1.0,
        "guidance_start": 0.0,
        "guidance_end": 1.0,
        "preprocessor": "none",
    }
    return ControlNetSpec.model_validate(values | changes)


class KnownOthers:
    """As `OtherWorkers`: the ControlNets that another worker could serve now; ``None``: any."""

    def __init__(self, served: Collection[str] | None = None) -> None:
        self.served = served

    def may_serve(self, controlnet: str, platform: str = "") -> bool:
        return self.served is None or controlnet in self.served

    def expect(self, wanted: Iterable[Served]) -> None:
        """All is known."""


@dataclass
class FakeWorker:
    """The collaborators of a UNet worker that its ControlNets need."""

    settings: Settings
    steps: StepQueue
    transport: ResidualTransport
    served_controlnets: list[str]
    controlnets: ModelCache[UNetControlNet]
    device: Device
    local_choice: LocalChoice
    live_workers: LiveWorkersCache
    other_workers: KnownOthers = field(default_factory=KnownOthers)
    overdue_steps: OverdueSteps = field(default_factory=OverdueSteps)
    stopping: threading.Event = field(default_factory=threading.Event)

    @cached_property
    def residency(self) -> ControlNetResidency:
        return ControlNetResidency(self.controlnets, self.served_controlnets)


class FakeModel:
    """What its ControlNets know of a base model."""

    parts: Mapping[str, Any] = {}
    patcher = Patcher({"unet": UNET})

    def __init__(self, facts: FamilyFacts = SD1) -> None:
        self.facts = facts


class ControlNetJob(NamedTuple):
    """A job of ControlNets: what the loop calls, and what it works with."""

    client: ControlNetClient
    context: AttemptContext
    worker: FakeWorker


def make_job(
    line: Line,
    *specs: ControlNetSpec,
    job_id: str = "",
    ordinal: int = 1,
    alone: bool = True,
    rows: int = 2,
    local: bool = False,
    precision: Precision = "exact",
    check: Callable[[], None] = lambda: None,
    device: Device | None = None,
    controlnets: ModelCache[UNetControlNet] | None = None,
    replay: Replay = NO_REPLAY,
    facts: FamilyFacts = SD1,
    **changes: Any,
) -> ControlNetJob:
    """A new job, its inputs published.

    ``local``: its worker may load every ControlNet, else none; ``changes``: settings.
    """
    settings = {"residual_timeout_s": 5.0, "residual_attempts": 2, **changes}
    worker = FakeWorker(
        settings=line.settings.model_copy(update=settings),
        steps=line.steps,
        transport=line.transport,
        served_controlnets=list(MODELS) if local else [],
        controlnets=controlnets or load_controlnets(),
        device=device or find_device("cpu"),
        local_choice=LocalChoice(),
        live_workers=LiveWorkersCache(control_redis(line.settings)),
    )
    context = AttemptContext(
        worker=cast("UNetWorker", worker),
        model=cast("BaseModel", FakeModel(facts)),
        spec=job_spec(
            controlnets=list(specs),
            residual_precision=precision,
            lora_loading=LoraLoading(mode="exact" if alone else "bounded"),
        ),
        job_id=job_id or f"job{next(JOBS)}",
        attempt="attempt",
        ordinal=ordinal,
        role="leader",
        timeline=Timeline("unet1@test"),
        check=check,
        replay=replay,
        tenant=LOCAL,
    )
    first = FirstResidualTimer([spec.name for spec in specs], context.timeline)
    first.start()
    client = ControlNetClient(context, CFGBranch.BOTH, first)
    client.publish_images([image(i) for i, _ in enumerate(specs)])
    inputs = {"embeddings": EMBEDDINGS.repeat(rows // 2, 1, 1)}
    client.publish_inputs(inputs, inputs)
    return ControlNetJob(client, context, worker)


def make_loaded_job(line: Line, *specs: ControlNetSpec, **options: Any) -> ControlNetJob:
    """A new job whose worker has loaded its ControlNets: see `make_job`."""
    job = make_job(line, *specs, local=True, **options)
    load_all(job.worker.controlnets, *(spec.name for spec in specs))
    return job


def make_controlnets(line: Line, *specs: ControlNetSpec, **options: Any) -> ControlNetClient:
    """The ControlNets of a new job: see `make_job`."""
    return make_job(line, *specs, **options).client


def ask(
    controlnets: ControlNetClient,
    step: int = 0,
    total: int = 4,
    x: Tensor = X,
    t: float = 501.0,
    copy: HostCopy | None = None,
) -> StepResiduals:
    copy = find_device("cpu").to_host(x) if copy is None else copy
    return controlnets.request_step(controlnets.calls(step, total), step, t, x, copy)


def ask_served(controlnets: ControlNetClient, line: Line, step: int = 0, total: int = 4) -> StepResiduals:
    """Ask for a step, and give other workers the time to claim it that they have while an encoder runs."""
    asked = ask(controlnets, step, total)
    assert eventually(lambda: not line.steps.find_unclaimed(asked.request, asked.request.parts))
    return asked


def results(controlnet: str, result: str) -> float:
    """How many of its steps this process has computed for that reason."""
    labels = {"controlnet": controlnet, "result": result}
    return REGISTRY.get_sample_value("swift_controlnet_steps_total", labels) or 0.0


def image(seed: int) -> Tensor:
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def by_diffusers(
    *scales: float, models: tuple[str, ...] = ("edge", "depth", "colour"), x: Tensor = X, t: int = 501
) -> tuple[list[Tensor], Tensor]:
    """Down and mid residuals of the first ``len(scales)`` of ``models``, summed by diffusers."""
    with torch.inference_mode():
        down, mid = MultiControlNetModel([MODELS[name] for name in models[: len(scales)]])(
            x,
            torch.tensor(t),
            encoder_hidden_states=EMBEDDINGS.repeat(x.shape[0] // 2, 1, 1),
            controlnet_cond=[torch.cat([image(i)] * x.shape[0]) for i, _ in enumerate(scales)],
            conditioning_scale=list(scales),
            return_dict=False,
        )
    return down, mid
