"""What every part of an attempt at a job works with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from torch import Generator

from shared.errors import WorkerStopping
from shared.jobs.spec import JobSpec
from workers.engines.base import Engine
from workers.families.base import BaseModel, Conditioning
from workers.lora.loader import Role
from workers.unet.controlnet.platforms import PlatformChoice
from workers.unet.denoising.deferred import DeferredCalls
from workers.unet.denoising.device_times import DeviceTimes
from workers.unet.latents.noise import make_generators
from workers.unet.output.replay import NO_REPLAY, Replay
from workers.unet.output.used_controlnets import UsedControlNets
from workers.unet.timeline import Timeline
from workers.unet.worker import UNetWorker


@dataclass(frozen=True, kw_only=True)
class AttemptContext:
    """Everything one attempt needs: worker, model, job spec, timeline, cancellation."""

    worker: UNetWorker
    model: BaseModel
    spec: JobSpec
    job_id: str
    tenant: str  # whose job it is, and its images
    attempt: str  # the attempt's token
    ordinal: int  # 1 for the job's first attempt
    role: Role  # of this worker in the attempt
    channel: str = ""  # of a follower: the channel to its leader
    timeline: Timeline
    check: Callable[[], None]  # raises what shall stop the attempt
    replay: Replay = NO_REPLAY
    deferred: DeferredCalls = field(default_factory=DeferredCalls)

    def check_stopping(self) -> None:
        """Raise `WorkerStopping` once the leader's worker was told to stop; a follower's `check` does so."""
        if self.role == "leader" and self.worker.stopping.is_set():
            raise WorkerStopping("its worker was told to stop")

    @cached_property
    def engine(self) -> Engine:
        """What runs the base model's stages."""
        return self.model.engines.select(eager_bits=self.replay.needs_eager_bits(self.spec))

    @cached_property
    def platforms(self) -> PlatformChoice:
        """Where the ControlNets of an exact job are computed."""
        worker = self.worker
        return PlatformChoice(worker.steps.platform_digest, worker.live_workers, self.timeline.worker)

    def platform_of(self, controlnet: str) -> str:
        """Digest of the platform that shall compute it, as the job must be exact; empty: any may."""
        if not self.spec.is_exact:
            return ""
        return self.platforms.choose(controlnet, is_held=self.worker.residency.may_hold(controlnet))

    @cached_property
    def used_controlnets(self) -> UsedControlNets:
        """With what the ControlNets were computed until now."""
        return UsedControlNets(self.spec)

    def encode_prompt(self) -> Conditioning:
        """The prompt with the LoRAs that the text encoders contain now."""
        return self.worker.prompts.encode_prompt(self.model, self.spec, self.worker.device, self._ask_others)

    def _ask_others(self, key: str, wait_s: float) -> bool:
        requests = self.worker.encoding_requests
        return requests is not None and requests.ask(
            self.spec.model,
            self.timeline.worker,
            wait_s,
            job_id=self.job_id,
            attempt=self.attempt,
            key=key,
        )

    @cached_property
    def device_times(self) -> DeviceTimes:
        """What measures the device's work; first used before the first step, as it waits for the device."""
        return DeviceTimes(self.worker.device, self.timeline)

    @cached_property
    def generators(self) -> list[Generator]:
        """One an image. Whatever samples from them does so in the order of the family's pipeline."""
        return make_generators(self.spec)
