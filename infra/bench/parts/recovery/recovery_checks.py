"""What a finished job's timeline shows of a kill: whether it hit the job, and how long the job stood still.

Jobs are as ``GET /v1/jobs/{id}`` returns them; kills are at seconds of their timelines.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any


def step_s(job: Mapping[str, Any]) -> list[float]:
    """Seconds of every step but the last, whose end the timeline does not show."""
    return [end - start for start, end in pairwise(_starts(job))]


def stood_s(job: Mapping[str, Any], at_s: float, usual_s: float) -> float:
    """How long no step was computed after a kill at ``at_s``.

    That is what the longest step took beyond the usual one; for a job that started again, it ends there.
    """
    again_s = _claimed_s(job)
    return again_s - at_s if again_s > at_s else max(step_s(job)) - usual_s


def lost_its_controlnet(job: Mapping[str, Any], target: str, at_s: float) -> bool:
    """Whether the ControlNet of the current step came from another worker, after the kill."""
    controlnet = _controlnet_at(job, at_s)
    return controlnet["end_s"] > at_s and not _is_of(controlnet, target)


def lost_its_residuals(job: Mapping[str, Any], target: str, at_s: float) -> bool:
    """Whether the ControlNet of the current step had not answered yet."""
    return bool(_controlnet_at(job, at_s)["end_s"] > at_s)


def follower_was_replaced(job: Mapping[str, Any], target: str, at_s: float) -> bool:
    """Whether the target predicted CFG branches before the kill, and another worker did after it."""
    branches = [span for span in job["timeline"] if span["name"] == "uncond branch"]
    before = [branch for branch in branches if float(branch["end_s"]) < at_s]
    after = [branch for branch in branches if float(branch["end_s"]) >= at_s]
    return any(_is_of(branch, target) for branch in before) and any(
        not _is_of(branch, target) for branch in after
    )


def began_anew_elsewhere(job: Mapping[str, Any], target: str, at_s: float) -> bool:
    """Whether it was claimed again after the signal, by another worker than the one in the target's place."""
    decoders = [span for span in job["timeline"] if span["name"] == "decoder"]
    return _claimed_s(job) > at_s and not any(_is_of(span, target) for span in decoders)


def computed_again(job: Mapping[str, Any], step: int, at_s: float) -> int:
    """Steps that were computed again, the one at hand among them, after a kill when ``step`` were reported.

    None if the same attempt went on.
    """
    if _claimed_s(job) <= at_s:
        return 0
    continued_at = job["receipt"].get("continued_at") or [0]
    return max(step + 1 - int(continued_at[-1]), 0)


def _claimed_s(job: Mapping[str, Any]) -> float:
    return max(float(span["end_s"]) for span in job["timeline"] if span["name"] == "queued")


def _starts(job: Mapping[str, Any]) -> list[float]:
    return sorted(float(span["start_s"]) for span in job["timeline"] if span["name"] == "encoder")


def _controlnet_at(job: Mapping[str, Any], at_s: float) -> dict[str, Any]:
    """The ControlNet's span of the step that was computed at ``at_s``."""
    controlnets = sorted(
        (span for span in job["timeline"] if span["name"].startswith("controlnet ")),
        key=lambda s: float(s["end_s"]),
    )
    begun = sum(start <= at_s for start in _starts(job))
    controlnet: dict[str, Any] = controlnets[max(begun, 1) - 1]
    return controlnet


def _is_of(span: Mapping[str, Any], target: str) -> bool:
    return str(span["worker"]).startswith(f"{target}@")
