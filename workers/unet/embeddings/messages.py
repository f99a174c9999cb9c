"""What a worker without text encoders and the one that encodes for it say to each other."""

from shared.message_base import Message

#: Responses at the residual Redis: the embeddings are being computed; they are stored; they will not be.
TAKEN, STORED, REFUSED = b"taken", b"stored", b"refused"


class EncodePrompt(Message):
    """A request to an idle UNet worker that has the text encoders: encode the prompt of another's job."""

    job_id: str
    attempt: str  # token of the attempt that asks
    key: str  # `embeddings_key`: whoever would compute other bits refuses
    responses: str  # random: names the list of the responses
