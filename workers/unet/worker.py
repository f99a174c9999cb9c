"""What one UNet worker has at hand, made once per process."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared.jobs.store import JobStore
from shared.messaging.messages import FollowBranch
from shared.settings import Settings
from shared.storage.object_store import Bucket
from workers.families.base_model import BaseModel
from workers.families.unet_controlnet import ControlNet
from workers.lora.cache.cache import LoraCache
from workers.lora.memory import LoraMemory
from workers.runtime.busy import BusyShare
from workers.runtime.model_cache import ModelCache
from workers.runtime.watchdog import Watchdog
from workers.transport.step_queue import StepQueue
from workers.transport.transport import Transport
from workers.unet.cfg_parallel.channel import BranchChannel
from workers.unet.controlnet.client import SendAttach

if TYPE_CHECKING:
    from redis import Redis

#: Asks an idle UNet worker for the model of that name for assistance.
SendAssist = Callable[[FollowBranch, str], None]


@dataclass(frozen=True, kw_only=True)
class UNetWorker:
    """The collaborators of `workers.unet.job`."""

    settings: Settings
    jobs: JobStore
    serves: list[str]  # models whose jobs it takes
    images: Bucket
    loras: LoraCache
    lora_memory: LoraMemory
    models: ModelCache[BaseModel]
    controlnets: ModelCache[ControlNet]  # for steps that no ControlNet worker takes
    steps: StepQueue
    transport: Transport
    send_attach: SendAttach
    send_assist: SendAssist
    residual: "Redis"
    busy: BusyShare
    watchdog: Watchdog = field(default_factory=lambda: Watchdog(0.0))  # not started, it ends nothing
    sessions: dict[str, list[str]] = field(default_factory=dict)  # by model: jobs of others that it assists

    def branch_channel(self, job_id: str, attempt: str) -> BranchChannel:
        """The line between the worker that draws an attempt and the one that assists."""
        return BranchChannel(self.residual, job_id, attempt, self.settings.residual_ttl_s)
