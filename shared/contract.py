"""The base of everything that crosses a process."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

#: A finite number; JSON's NaN and Infinity are no scales.
Finite = Annotated[float, Field(allow_inf_nan=False)]
#: diffusers' seeds are those of torch's generator.
MAX_SEED = 2**63 - 1


class Message(BaseModel):
    """Immutable, and unknown fields are refused."""

    # An error's text is logged: it must not show what is wrong, which may be a prompt.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
