"""What UNet and ControlNet workers say to each other about a step, beside the tensors."""

from pydantic import Field

from shared.jobs.options import Precision
from shared.message_base import Message

#: The index of the mid residual; down residuals are counted from the shallowest, 0.
MID = -1


class StepPart(Message):
    """What one ControlNet is asked for in a step."""

    position: int  # of the ControlNet in the job: the same ControlNet may be there twice
    controlnet: str
    scale: float  # conditioning_scale
    image: str  # key of the control image at the residual server
    control_mode: int | None = None  # of a union of ControlNets


class StepRequest(Message):
    """Please compute one step. Any worker that holds a part's ControlNet can answer that part.

    ``retry`` counts up when a step is asked for again: older requests are then void.
    """

    job_id: str
    attempt: str
    ordinal: int  # of the attempt: a later one's turn is never taken back
    step: int
    retry: int
    t: float  # the scheduler's timestep
    inputs: dict[str, str]  # name ("embeddings", …): key at the residual server
    guess: bool = False  # the job's guess_mode
    parts: list[StepPart]  # every ControlNet of the step, in the order in which they are summed
    rows: int  # of the model input
    batch_key: str  # steps of one ControlNet and one key may be computed in one pass; empty: alone
    residual_precision: Precision = "exact"
    shared_memory: str = ""  # token of the memory that the asking worker shares with others of its host

    @property
    def session(self) -> str:
        """The job, also where one of its halves asks for itself: ``JOB.HALF``."""
        return self.job_id.partition(".")[0]

    @property
    def step_token(self) -> str:
        """The address of this very request among all requests of the job."""
        return f"{self.step_prefix}{self.retry}"

    @property
    def step_prefix(self) -> str:
        """How the turns of this step begin, however often it is asked for."""
        return f"{self.ordinal}:{self.attempt}:{self.step}:"


class QueuedStep(Message):
    """A part of a step, as it waits in its net's queue."""

    job_id: str
    step_token: str
    controlnet: str
    position: int
    rows: int
    batch_key: str


class RedisChunks(Message):
    """A body's place: keys at residual servers, its chunks on ``servers`` in turn."""

    key: str
    servers: list[int]


class SharedMemoryBlock(Message):
    """A body's place: a segment of shared memory, in its ``generation``-th use."""

    segment: str
    generation: int


class Payload(Message):
    """What a residual is, and where its bytes lie; without a place they follow the head."""

    dtype: str
    shape: list[int]
    precision: Precision = "exact"
    place: RedisChunks | SharedMemoryBlock | None = None


class StepResponse(Message):
    """Head of one residual, or of an error in its place.

    Times are seconds since the epoch: when the worker began the step, and when it had this residual.
    """

    index: int
    positions: list[int]  # of the ControlNets whose residuals it sums, in this order
    retry: int  # of the request it answers
    start_s: float
    end_s: float
    worker: str
    batch: int = 1  # jobs that were computed in one pass
    hashes: dict[int, str] = Field(default_factory=dict)  # position: of the weights that made it
    body: Payload | None = None  # the transport's part
    error: str | None = None  # code of the error
    detail: str = ""
