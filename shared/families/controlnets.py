"""What is known of ControlNets without loading them: their traits, and how they fit a base model."""

from typing import Literal, NamedTuple

#: Whether a ControlNet is shown a job's mask, and the job's image without what that marks: never, in jobs
#: that have a mask, or always. The last was trained to inpaint, and has no control image of its own.
MaskUse = Literal["none", "optional", "required"]


class ModelSignature(NamedTuple):
    """What a ControlNet must share with its base model, so that its residuals fit into the base model."""

    family: str  # the family's name
    label: str  # what error texts call the family
    layout: str  # sizes of the layers, for people
    #: Width of the text embeddings, which tells LoRAs of one family from those of another.
    text_width: int | None = None

    def __str__(self) -> str:
        return f"{self.label}, {self.layout}"


class ControlNetTraits(NamedTuple):
    """What a job must know of a ControlNet before it asks for it."""

    signature: ModelSignature
    global_pooling: bool = False  # gives one value for each channel, and only to the conditional rows
    control_types: int = 0  # of a union of ControlNets; 0: an ordinary ControlNet
    #: What its authors call them, by their numbers: of the last ones, or of all, it may not be known.
    control_type_names: tuple[str, ...] = ()
    #: What it gives its base models (`ControlPlan.wanted`): diffusers sums what several give.
    residuals: tuple[int, ...] = ()
    #: How the residuals spread over the base model's blocks, for people; only those of one are summed right.
    layout: str = ""
    mask: MaskUse = "none"
    #: The most pixels of a side that it has positions for. None: there is no limit.
    max_side_px: int | None = None


class ControlPlan(NamedTuple):
    """Which residual of a ControlNet each place of its base model takes."""

    places: tuple[int | None, ...]  # in the order in which the forward comes to them; None: nothing is added

    @property
    def wanted(self) -> tuple[int, ...]:
        """The residuals that are read at all, each once, in the order in which they are first needed."""
        return tuple(dict.fromkeys(index for index in self.places if index is not None))


def incompatibility(
    controlnet: str, controlnet_signature: ModelSignature, model: str, model_signature: ModelSignature
) -> str | None:
    """Why the ControlNet cannot guide the model, naming both; ``None`` if it can."""
    if controlnet_signature == model_signature:
        return None
    theirs = f"ControlNet {controlnet!r} ({controlnet_signature})"
    return f"{theirs} does not fit its model {model!r} ({model_signature})"
