"""What UNet and ControlNet workers say to each other about a step, beside the tensors."""

from shared.contract import Message

#: The index of the mid residual; down residuals are counted from the shallowest, 0.
MID = -1


class StepRequest(Message):
    """Please compute ``net`` for one step. Any worker that holds the net can answer it.

    ``send`` counts up when a step is asked for again: older requests are then void.
    """

    job_id: str
    attempt: str
    ordinal: int  # of the attempt: a later one's turn is never taken back
    step: int
    send: int
    net: str
    position: int  # of the net in the job: the same net may be there twice
    t: float  # the scheduler's timestep
    scale: float  # conditioning_scale
    inputs: dict[str, str]  # name ("embeddings", "image", …): key at the residual server

    @property
    def turn(self) -> str:
        """The address of this very request among all requests of the job."""
        return f"{self.ordinal}:{self.attempt}:{self.step}:{self.send}"


class Answer(Message):
    """Head of one residual, or of an error in its place.

    Times are seconds since the epoch: when the worker began the step, and when it had this residual.
    """

    index: int
    send: int  # of the request it answers
    start_s: float
    end_s: float
    worker: str
    net_sha256: str = ""  # of the weights that made it
    error: str | None = None  # code of the error
    detail: str = ""
