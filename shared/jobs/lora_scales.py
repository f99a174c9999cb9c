"""How strongly a LoRA counts: a number, or diffusers' scales of the model's parts and the UNet's blocks."""

from typing import Annotated, Any

from pydantic import BaseModel, Discriminator, Field, Tag

from shared.message_base import Finite, StrictMessage


def _kind(value: Any) -> str:
    """Tags are no fields: problems leave out what stands in angle brackets."""
    if isinstance(value, dict | BaseModel):
        return "<table>"
    return "<list>" if isinstance(value, list) else "<number>"


Strength = Annotated[Finite, Field(ge=-10, le=10)]
_Number = Annotated[Strength, Tag("<number>")]
#: A UNet has a handful of blocks on each side, and of transformers in a block.
MAX_BLOCKS = 32
_Each = Annotated[Annotated[list[Strength], Field(min_length=1, max_length=MAX_BLOCKS)], Tag("<list>")]
#: Of a block: of all its transformers, or of each.
BlockScale = Annotated[_Number | _Each, Discriminator(_kind)]
_Name = Annotated[str, Field(pattern=r"^block_[0-9]{1,3}$", max_length=9)]
_Blocks = Annotated[Annotated[dict[_Name, BlockScale], Field(max_length=MAX_BLOCKS)], Tag("<table>")]
#: Of one side of the UNet: of all its blocks, or of each by diffusers' name.
SideScale = Annotated[_Number | _Blocks, Discriminator(_kind)]


class UNetScale(StrictMessage):
    """diffusers' scales within a UNet; what is not named counts as 1."""

    down: SideScale = 1.0
    mid: Strength = 1.0
    up: SideScale = 1.0


_UNetTable = Annotated[UNetScale, Tag("<table>")]


class PartScales(StrictMessage):
    """A scale for each part of the model, as in diffusers' ``set_adapters``; unset counts as 1."""

    unet: Annotated[_Number | _UNetTable, Discriminator(_kind)] | None = None
    transformer: Strength | None = None
    text_encoder: Strength | None = None
    text_encoder_2: Strength | None = None
    text_encoder_3: Strength | None = None


_PartTable = Annotated[PartScales, Tag("<table>")]
Scale = Annotated[_Number | _PartTable, Discriminator(_kind)]
