"""How far a ControlNet works beside the UNet's encoder, read from a job's timeline."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Step(NamedTuple):
    """One step of a job with one net, in milliseconds."""

    step_ms: float
    encoder_ms: float
    net_ms: float
    overlap_ms: float  # both at work


def read_steps(timeline: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Every step but the last, whose end the timeline does not tell: a step ends as the next one begins.

    Raises `ValueError` unless the net worked at every step.
    """
    encoders = _spans(timeline, "encoder")
    nets = _spans(timeline, "net ")
    if len(encoders) != len(nets):
        raise ValueError(f"{len(encoders)} steps, and the net worked at {len(nets)}")
    return [
        Step(
            step_ms=1e3 * (following[0] - encoder[0]),
            encoder_ms=1e3 * (encoder[1] - encoder[0]),
            net_ms=1e3 * (net[1] - net[0]),
            overlap_ms=1e3 * max(0.0, min(encoder[1], net[1]) - max(encoder[0], net[0])),
        )
        for encoder, net, following in zip(encoders, nets, encoders[1:], strict=False)
    ]


def _spans(timeline: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """Start and end of the spans whose names begin so, by their start."""
    return sorted((span["start_s"], span["end_s"]) for span in timeline if span["name"].startswith(name))
