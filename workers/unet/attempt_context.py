"""What steps are made with, whether a worker draws or assists: LoRAs, and a maker of rows."""

from collections.abc import Callable
from dataclasses import dataclass

from shared.jobs.spec import JobSpec
from workers.families.base_model import BaseModel
from workers.lora.loader import Role
from workers.unet.deferred import Deferred
from workers.unet.lora import JobLoras
from workers.unet.noise_predictor import NoisePredictorFactory
from workers.unet.output.replay import Replay
from workers.unet.timeline import Timeline
from workers.unet.worker import UNetWorker


@dataclass(frozen=True, kw_only=True)
class AttemptContext:
    """One worker's part in an attempt; ``check`` raises when it is not wanted any more."""

    worker: UNetWorker
    model: BaseModel
    spec: JobSpec
    timeline: Timeline
    check: Callable[[], None]
    replay: Replay

    def loras(self, role: Role, total_steps: int) -> JobLoras:
        """The job's LoRAs, on their way from now on."""
        return JobLoras(
            self.spec,
            self.model,
            self.worker.loras,
            self.worker.lora_memory,
            role=role,
            total_steps=total_steps,
            wait_s=self.worker.settings.lora_wait_s,
            timeline=self.timeline,
            check=self.check,
            check_hash=self.replay.check_lora,
        )

    def row_maker(
        self, job_id: str, attempt: str, ordinal: int, afterwards: Deferred
    ) -> NoisePredictorFactory:
        """Makes the rows of one attempt at the job."""
        return NoisePredictorFactory(
            worker=self.worker,
            model=self.model,
            spec=self.spec,
            job_id=job_id,
            attempt=attempt,
            ordinal=ordinal,
            timeline=self.timeline,
            afterwards=afterwards,
            check=self.check,
            check_hash=self.replay.check_controlnet,
        )
