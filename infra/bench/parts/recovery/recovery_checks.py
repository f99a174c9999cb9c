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


def lost_its_follower(job: Mapping[str, Any], target: str, at_s: float) -> bool:
    """Whether the target predicted CFG branches, and none after the kill."""
    branches = [span for span in job["timeline"] if span["name"] == "uncond branch"]
    split, total = job["receipt"]["spec"]["split_steps"], job["progress"]["total"]
    return 0 < len(split) < total and all(
        _is_of(branch, target) and branch["end_s"] < at_s for branch in branches
    )


def lost_its_unet_worker(job: Mapping[str, Any], target: str, at_s: float) -> bool:
    """Whether it was started again after the kill, by another worker or by the one in the target's place."""
    return _claimed_s(job) > at_s


def _claimed_s(job: Mapping[str, Any]) -> float:
    return float(next(span["end_s"] for span in job["timeline"] if span["name"] == "queued"))


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
