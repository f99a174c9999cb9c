"""The scale of a LoRA at each parameter of a model."""

from collections.abc import Callable, Mapping

from torch import nn

from shared.errors import InvalidRequest
from shared.jobs.lora_scales import PartScales, Scale, UNetScale

#: The scale at a parameter of a part of the model, by part and name.
ScaleAt = Callable[[str, str], float]
#: The scale at a parameter of one part, by name.
ScaleOfParameter = Callable[[str], float]
#: A family's resolution of scales by block: for each part with such scales, the scale of its parameters.
LayerScales = Callable[[PartScales, Mapping[str, nn.Module]], Mapping[str, ScaleOfParameter]]


def scale_at(scale: Scale, parts: Mapping[str, nn.Module], layer_scales: LayerScales) -> ScaleAt:
    """Resolve ``scale`` for a model; raises `InvalidRequest` for parts and blocks that it does not have."""
    if not isinstance(scale, PartScales):
        number = float(scale)
        return lambda part, name: number
    given = scale.model_dump(exclude_none=True)
    unknown = given.keys() - parts.keys()
    if unknown:
        raise scale_error(f"the model has no {', '.join(sorted(unknown))}; its parts are {', '.join(parts)}")
    by_layer = layer_scales(scale, parts)

    def at(part: str, name: str) -> float:
        scale_of = by_layer.get(part)
        return float(given.get(part, 1.0)) if scale_of is None else scale_of(name)

    return at


def no_layer_scales(scale: PartScales, parts: Mapping[str, nn.Module]) -> dict[str, ScaleOfParameter]:
    """For families without scales by block; raises `InvalidRequest` where a job gives some."""
    if isinstance(scale.unet, UNetScale):
        raise scale_error("the model has no scales by block")
    return {}


def scale_error(why: str) -> InvalidRequest:
    """The error of a scale that does not fit the model."""
    return InvalidRequest(f"scale of a LoRA: {why}", field="loras")
