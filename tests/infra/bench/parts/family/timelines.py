"""Timelines of jobs as the fleet reports them."""

from collections.abc import Sequence
from typing import Any


def span(name: str, start_s: float, end_s: float, residual: int | None = None) -> dict[str, Any]:
    return {"name": name, "start_s": start_s, "end_s": end_s, "residual": residual}


def timeline(
    steps: Sequence[Sequence[dict[str, Any]]], *, step_s: float, first_s: float = 0.5
) -> list[dict[str, Any]]:
    """Steps of ``step_s`` whose base model computes all the time; each with more spans, since its begin."""
    spans = [span("text", 9.0, 10.0)]
    for i, more in enumerate(steps):
        begin = 10.0 + i * step_s
        spans.append(span("first block", begin, begin + first_s))
        spans.append(span("blocks", begin + first_s, begin + step_s))
        spans += [{**one, "start_s": begin + one["start_s"], "end_s": begin + one["end_s"]} for one in more]
    end = 10.0 + len(steps) * step_s
    return [*spans, span("vae", end, end + 0.5)]
