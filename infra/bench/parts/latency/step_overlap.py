"""How far a ControlNet works beside the UNet's encoder, read from a job's timeline."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Step(NamedTuple):
    """One step of a job with one ControlNet, in milliseconds."""

    step_ms: float
    encoder_ms: float
    controlnet_ms: float
    overlap_ms: float  # both at work


def read_steps(timeline: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Every step but the last, whose end the timeline does not show: a step ends as the next one begins.

    Raises `ValueError` unless the ControlNet worked at every step.
    """
    encoders = _spans(timeline, "encoder")
    controlnets = _spans(timeline, "controlnet ")
    if len(encoders) != len(controlnets):
        raise ValueError(f"{len(encoders)} steps, and the ControlNet worked at {len(controlnets)}")
    return [
        Step(
            step_ms=1e3 * (following[0] - encoder[0]),
            encoder_ms=1e3 * (encoder[1] - encoder[0]),
            controlnet_ms=1e3 * (controlnet[1] - controlnet[0]),
            overlap_ms=1e3 * max(0.0, min(encoder[1], controlnet[1]) - max(encoder[0], controlnet[0])),
        )
        for encoder, controlnet, following in zip(encoders, controlnets, encoders[1:], strict=False)
    ]


def _spans(timeline: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """Start and end of the spans whose names begin so, by their start."""
    return sorted((span["start_s"], span["end_s"]) for span in timeline if span["name"].startswith(name))
