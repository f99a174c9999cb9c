"""What one UNet worker works with, built once per process."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from shared.families.base import FamilyFacts
from shared.jobs.store import JobStore
from shared.messaging.messages import AttachControlNet
from shared.registry.live_workers import LiveWorkersCache
from shared.scheduling.measured_times import MeasuredTimes
from shared.settings import Settings
from shared.storage.object_store import Bucket
from workers.devices.base import Device
from workers.devices.selection import find_device
from workers.families.base import BaseModel
from workers.families.base_controlnet import ControlNet
from workers.families.controlnet_configs import ControlNetConfigs
from workers.lora.cache.cache import LoraCache
from workers.lora.memory import LoraMemory
from workers.runtime.activity.device_activity import DeviceActivity
from workers.runtime.device_loss import DeviceLoss
from workers.runtime.model_cache import ModelCache
from workers.runtime.watchdog import Watchdog
from workers.transport.step_queue import StepQueue
from workers.transport.transport import ResidualTransport
from workers.unet.cfg_parallel.messages import FollowBranch
from workers.unet.cfg_parallel.timings import CFGTimings
from workers.unet.checkpoints.store import CheckpointStore
from workers.unet.controlnet.claims.local_choice import LocalChoice
from workers.unet.controlnet.claims.other_workers import OtherWorkers
from workers.unet.controlnet.claims.overdue_steps import OverdueSteps
from workers.unet.controlnet.residency import ControlNetResidency
from workers.unet.embeddings.encoding_requests import EncodingRequests
from workers.unet.embeddings.prompt_encoder import PromptEncoder

if TYPE_CHECKING:
    from redis import Redis

#: Asks those that may serve the ControlNets of a job to prepare for it; by the name of this worker.
SendAttach = Callable[[Sequence[AttachControlNet], str], None]
#: Asks an idle UNet worker that serves the model of that name to follow; the offer expires after the seconds.
SendFollow = Callable[[FollowBranch, str, float], None]


@dataclass(frozen=True, kw_only=True)
class UNetWorker:
    """The collaborators of `workers.unet.job.execute_job`."""

    settings: Settings
    jobs: JobStore
    live_workers: LiveWorkersCache
    facts_of: Callable[[str], FamilyFacts | None]  # of a model, as the web knows them: by its configs
    serves: list[str]  # models whose jobs it takes
    served_controlnets: list[str]  # those that it may load, for its own jobs and for others' while it is idle
    images: Bucket
    loras: LoraCache
    lora_memory: LoraMemory
    models: ModelCache[BaseModel]
    controlnets: ModelCache[ControlNet]
    controlnet_configs: ControlNetConfigs = field(default_factory=ControlNetConfigs)
    steps: StepQueue
    transport: ResidualTransport
    send_attach: SendAttach
    send_follow: SendFollow
    residual: "Redis"
    checkpoints: CheckpointStore
    activity: DeviceActivity
    prompts: PromptEncoder = field(default_factory=PromptEncoder)
    encoding_requests: EncodingRequests | None = None  # None: nobody is asked to encode a prompt
    device: Device = field(default_factory=lambda: find_device("cpu"))
    cfg_timings: CFGTimings = field(default_factory=CFGTimings)
    device_loss: DeviceLoss = field(default_factory=lambda: DeviceLoss(find_device("cpu")))
    local_choice: LocalChoice = field(default_factory=LocalChoice)
    overdue_steps: OverdueSteps = field(default_factory=OverdueSteps)
    stopping: threading.Event = field(default_factory=threading.Event)  # set once it was told to stop
    watchdog: Watchdog = field(default_factory=lambda: Watchdog(0.0))  # not started: it ends nothing
    followed_jobs: dict[str, list[str]] = field(
        default_factory=dict
    )  # model: jobs of other workers it follows

    @cached_property
    def residency(self) -> ControlNetResidency:
        """Which of `served_controlnets` are loaded, and when."""
        return ControlNetResidency(self.controlnets, self.served_controlnets, self.device_loss)

    @cached_property
    def measured_times(self) -> MeasuredTimes:
        """Where it notes how long jobs took."""
        return MeasuredTimes(self.jobs.renewal_redis, self.facts_of)

    @cached_property
    def other_workers(self) -> OtherWorkers:
        """Who else could serve a ControlNet now."""
        return OtherWorkers(self.jobs.redis)
