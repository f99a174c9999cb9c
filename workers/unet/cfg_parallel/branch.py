"""The branches of classifier-free guidance, as parts of a step's batch."""

from enum import Enum

from workers.families.conditioning import Conditioning


class CFGBranch(Enum):
    """Which rows of a step's batch; `CFGBranch.BOTH` is the whole batch, guided or not."""

    BOTH = "both"
    UNCOND = "uncond"  # the first half of a guided batch
    COND = "cond"

    def rows_of(self, conditioning: Conditioning) -> Conditioning:
        """The part of a whole batch's ``conditioning`` that belongs to this branch."""
        middle = len(conditioning.embeddings) // 2
        if self is CFGBranch.UNCOND:
            return conditioning.rows(slice(0, middle))
        if self is CFGBranch.COND:
            return conditioning.rows(slice(middle, None))
        return conditioning
