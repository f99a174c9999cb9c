"""Two tiny ControlNets, jobs that ask for them, and what diffusers makes of the same: for tests of
both ends."""

import itertools
from typing import Any, NamedTuple

import torch
from diffusers import MultiControlNetModel
from redis import Redis
from torch import Tensor

from shared.jobs.options import Precision
from shared.jobs.spec import ControlSpec
from shared.settings import Settings
from tests.tiny_models import make_controlnet, make_unet
from workers.controlnet_serving.server import Server
from workers.families.unet_controlnet import ControlNet
from workers.runtime.model_cache import Memory, ModelCache
from workers.transport.step_queue import ClaimedStep, StepQueue
from workers.transport.transport import Transport
from workers.unet.controlnet.client import ControlNetClient
from workers.unet.controlnet.first_residual import FirstResidual
from workers.unet.controlnet.local import LocalControlNets
from workers.unet.controlnet.step_residuals import StepResiduals
from workers.unet.timeline import Timeline

UNET = make_unet()
MODELS = {
    "edge": make_controlnet(UNET, 1),
    "depth": make_controlnet(UNET, 2),
    "colour": make_controlnet(UNET, 3),
}
MODELS["pooled"] = make_controlnet(UNET, 4, global_pool_conditions=True)
JOBS = itertools.count()
EMBEDDINGS = torch.randn(2, 32, 128, generator=torch.Generator().manual_seed(8))
X = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(9))


class Line(NamedTuple):
    """One end of the line to the residual Redis."""

    redis: Redis
    settings: Settings
    steps: StepQueue
    transport: Transport


def load_controlnets() -> ModelCache[ControlNet]:
    return ModelCache(lambda name: ControlNet(name, MODELS[name]), Memory(1 << 30))


def make_line(redis: Redis, settings: Settings) -> Line:
    return Line(redis, settings, StepQueue(redis, settings), Transport([redis], settings))


def make_server(line: Line, *names: str, controlnets: ModelCache[ControlNet] | None = None) -> Server:
    """A ControlNet worker that holds the ControlNets ``names``; it is another claimant than ``line``."""
    controlnets = controlnets or load_controlnets()
    for name in names:
        with controlnets.use(name):
            pass
    own = make_line(line.redis, line.settings)
    return Server(names, controlnets, own.steps, own.transport, line.settings.controlnet_batch_delay)


def compute(server: Server, works: list[ClaimedStep]) -> None:
    """Have a worker that was not started compute these and send what comes of them."""
    server.sender.start()
    server.serve(works)
    server.sender.stop()


def spec(name: str, **changes: Any) -> ControlSpec:
    values = {
        "name": name,
        "image": name,
        "conditioning_scale": 1.0,
        "guidance_start": 0.0,
        "guidance_end": 1.0,
        "preprocessor": "none",
    }
    return ControlSpec.model_validate(values | changes)


def make_controlnets(
    line: Line,
    *specs: ControlSpec,
    ordinal: int = 1,
    alone: bool = True,
    rows: int = 2,
    local: bool = False,
    precision: Precision = "exact",
    **changes: Any,
) -> ControlNetClient:
    """The ControlNets of a new job, attached; ``local``: compute here what nobody serves; ``changes``:
    settings."""
    settings = {"residual_wait_s": 5.0, "residual_sends": 2, **changes}
    timeline = Timeline("unet1@test")
    first = FirstResidual([spec.name for spec in specs], timeline)
    first.attached()
    controlnets = ControlNetClient(
        list(specs),
        job_id=f"job{next(JOBS)}",
        attempt="attempt",
        ordinal=ordinal,
        alone=alone,
        precision=precision,
        guess=False,
        local=LocalControlNets(load_controlnets(), "unet1@test") if local else None,
        steps=line.steps,
        transport=line.transport,
        settings=line.settings.model_copy(update=settings),
        timeline=timeline,
        first=first,
        check=lambda: None,
        check_hash=lambda _controlnet, _sha256: None,
    )
    controlnets.attach([image(i) for i, _ in enumerate(specs)], rows, lambda message: None)
    controlnets.use_inputs({"embeddings": EMBEDDINGS.repeat(rows // 2, 1, 1)})
    return controlnets


def ask(
    controlnets: ControlNetClient, step: int = 0, total: int = 4, x: Tensor = X, t: float = 501.0
) -> StepResiduals:
    asked = controlnets.ask(x, step, total, t)
    assert asked is not None
    return asked


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
