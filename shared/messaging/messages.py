"""What Celery and the control Redis carry."""

from pydantic import Field

from shared.keys import LOCAL
from shared.message_base import Message


class GenerateJob(Message):
    """Generate the images of a job. The job is in the job store: its message may arrive twice."""

    job_id: str = Field(pattern=r"^[0-9a-f]{16}$")  # it becomes part of keys


class AttachControlNet(Message):
    """A job is about to ask for ``controlnet``: load it, fetch the control image and embed it."""

    job_id: str
    attempt: str
    controlnet: str
    image: str  # key of the preprocessed control image at the residual server
    batch: int  # rows of the step requests that will follow
    tenant: str = LOCAL  # whose job it is, for the log
    platform: str = ""  # digest of the platform that shall compute them; empty: any may
