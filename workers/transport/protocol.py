"""The messages of UNet and ControlNet workers about a step. The tensors travel beside them.

Whoever changes a message so that the version before could not read it raises the number in
`shared.keys.TRANSPORT`: workers of both versions may run at once while a fleet is upgraded.
"""

from typing import Annotated, Any

from pydantic import Field

from shared.jobs.options import Precision
from shared.jobs.receipt import Platform
from shared.message_base import Message


class ControlNetCall(Message):
    """What one ControlNet is asked for in a step."""

    position: int  # of the ControlNet in the job: the same ControlNet may be there twice
    controlnet: str
    scale: float  # conditioning_scale
    image: str  # key of the control image at the residual server
    control_mode: int | None = None  # of a union of ControlNets
    platform: str = ""  # digest of the only platform that may compute it, of an exact job; empty: any may


class StepRequest(Message):
    """Asks for the residuals of one step. Any worker that holds a part's ControlNet can serve that part."""

    job_id: str
    attempt: str
    ordinal: int  # of the attempt: an older attempt cannot replace the request of a newer one
    step: int
    retry: int  # counts the repetitions of the request: older ones are then superseded
    t: float  # the scheduler's timestep
    inputs: dict[str, str]  # name ("embeddings", …): key at the residual server
    guess_mode: bool = False  # the job's guess_mode
    parts: list[ControlNetCall]  # every ControlNet of the step, in the order in which they are summed
    #: Positions of the parts whose ControlNets the asking worker has loaded: it computes those that are left.
    held: list[int] = Field(default_factory=list)
    rows: int  # of the model input
    batch_key: str  # see `batch_key_of`; empty: its parts share no forward pass
    residual_precision: Precision = "exact"
    eager_bits: bool = False  # the job needs the bits of eager kernels: no compiled ControlNet
    platform: str = ""  # digest of the asking worker's platform
    reachable_by: dict[str, str]  # transport backends that reach the asking worker: what each announces

    def batch_key_of(self, part: ControlNetCall) -> str:
        """Steps of one ControlNet with one key may share a forward pass, which has one ``control_mode``."""
        if not self.batch_key or part.control_mode is None:
            return self.batch_key
        return f"{self.batch_key}; control_mode {part.control_mode}"

    @property
    def root_job_id(self) -> str:
        """The job, also where one branch of it asks by itself: its id is ``JOB.BRANCH``."""
        return self.job_id.partition(".")[0]

    @property
    def step_token(self) -> str:
        """Identifies this very request among all requests of the job."""
        return f"{self.step_prefix}{self.retry}"

    @property
    def step_prefix(self) -> str:
        """What the step tokens of this step begin with, whichever retry it is."""
        return f"{self.ordinal}:{self.attempt}:{self.step}:"


class QueuedStep(Message):
    """A part of a step as it waits in its ControlNet's queue; the request itself is stored once."""

    job_id: str
    step_token: str
    controlnet: str
    position: int
    rows: int
    batch_key: str  # `StepRequest.batch_key_of`
    platform: str = ""  # as in its `ControlNetCall`


class Payload(Message):
    """What a residual is, and how to get its bytes."""

    dtype: str
    shape: list[Annotated[int, Field(ge=0)]]
    precision: Precision = "exact"
    channels_last: bool = False  # the memory format
    backend: str  # name of the transport backend that holds the bytes
    location: dict[str, Any]  # where; only that backend reads it


class UsedControlNet(Message):
    """With what a ControlNet was computed, for the receipt."""

    sha256: str  # of its weights
    engine: str
    memory_format: str
    platform: Platform | None = None  # where it is another one than the asking worker's


class StepResponse(Message):
    """Header of one residual, or of an error in its place.

    Times are seconds since the epoch: when the worker began the step, and when it had this residual.
    """

    index: int  # of the residual, by the model family's numbers; of an error 0
    positions: list[int]  # of the ControlNets whose residuals it sums, in this order
    retry: int  # of the request that it answers
    start_s: float
    end_s: float
    worker: str
    batch: int = 1  # jobs that were computed in one forward pass
    used: dict[int, UsedControlNet] = Field(default_factory=dict)  # by position
    payload: Payload | None = None  # set by the transport
    error: str | None = None  # code of the error
    detail: str = ""
