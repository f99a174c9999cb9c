"""What leader and follower say to each other: an offer by Celery, then steps and predictions."""

from pydantic import Field

from shared.jobs.receipt import WorkerReceipt
from shared.message_base import Message
from workers.transport.protocol import UsedControlNet

#: The step of the response that says the follower is ready.
READY = -1


class FollowBranch(Message):
    """An offer to an idle UNet worker: compute the unconditional branch of a job that another one runs."""

    job_id: str
    attempt: str  # token of the attempt that asks; a later attempt asks for itself
    ordinal: int  # of the attempt
    channel: str  # random: names the keys of one search for a follower; the next search has others
    control_maps: list[str]  # sha256 of what each ControlNet is given, so that no image is preprocessed twice
    #: Names of workers that have followed the attempt, and shall not again.
    excluded: list[str] = Field(default_factory=list)


class BranchStep(Message):
    """The leader asks for the unconditional prediction of one step."""

    step: int
    total: int  # of the job's steps
    t: float  # the scheduler's timestep
    loras: list[str]  # names of the LoRAs in effect, in the order of the job


class BranchPrediction(Message):
    """The follower's response: a prediction, or why there is none.

    Times are seconds since the epoch.
    """

    step: int  # READY before the first
    worker: str
    start_s: float = 0.0
    end_s: float = 0.0
    is_missing_lora: bool = False  # a LoRA of this step has not arrived yet
    is_leaving: bool = False  # the worker was preempted or failed: it answers no further step
    is_preempted: bool = False  # of one that leaves: it has not failed, and may follow again later
    #: Of a prediction: with what its ControlNets were computed, by position; where a platform is named, it is
    #: not the worker's own.
    controlnets: dict[int, list[UsedControlNet]] = Field(default_factory=dict)
    model_sha256: str = ""  # when it is ready: of its weights
    configs_sha256: str = ""  # when it is ready: of its configs and tokenizers; older workers say nothing
    receipt: WorkerReceipt | None = None  # when it is ready: what it computes with
