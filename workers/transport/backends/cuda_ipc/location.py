"""Where a payload lies on the writer's device."""

from pydantic import Field

from shared.message_base import Message


class DeviceSlot(Message):
    """Location: a slot of the slab that segment ``FOLDER/FILE`` describes, which holds ``generation``.

    The handle and the size of the slab are in the segment and not here: what comes from the residual server
    opens no memory.
    """

    segment: str
    offset: int = Field(ge=0)
    generation: int = Field(gt=0)
