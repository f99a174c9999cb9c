"""The steps of a finished job, by its timeline: how long each took, and how long it had to take.

The critical path of a step is the longest chain of its parts as they ran in that very step: the base model up
to where it needs the first residual, or the ControlNet from its beginning until that residual was there, and
the base model after that. So no path is longer than its step. What a path leaves out is the time until the
ControlNet begins, waits for later residuals, and the loop's own work between forwards.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from infra.bench.harness.report import CheckFailed
from workers.families.transformer.model import TransformerModel

#: What timelines call a wait for a residual that no ControlNet had computed and sent yet, and for one that
#: was there and had to be brought here.
COMPUTED, TRANSFER = "wait for residuals", "wait for transfer"
_BEFORE, _AFTER = TransformerModel.stages

_Span = Mapping[str, Any]


class Wait(NamedTuple):
    """Of the base model for a residual."""

    residual: int  # its place in the order in which a step needs them, from 0
    seconds: float
    is_transfer: bool


class TracedStep(NamedTuple):
    """Seconds of one step and its parts."""

    step_s: float  # until the next one began; of the last, until the image was decoded
    first_s: float  # of the base model, up to where it needs the first residual
    rest_s: float  # of the base model after that, without waits
    waits: tuple[Wait, ...]
    #: Of the ControlNet: all it computed; and from its beginning until the base model had the first residual,
    #: 0 where that was not waited for.
    controlnet_s: float = 0.0
    residual_s: float = 0.0

    @property
    def base_s(self) -> float:
        """All that the base model computed."""
        return self.first_s + self.rest_s

    @property
    def path_s(self) -> float:
        """The critical path: what the step would have taken, had nothing else cost time."""
        return max(self.first_s, self.residual_s) + self.rest_s


def traced_steps(job: Mapping[str, Any]) -> list[TracedStep]:
    """Of a job with one ControlNet in all steps, or with none; raises `CheckFailed` for another."""
    spans = sorted(job["timeline"], key=lambda span: float(span["start_s"]))
    before, after = _named(spans, _BEFORE), _named(spans, _AFTER)
    controlnets = [span for span in spans if span["name"].startswith("controlnet ")]
    if not before or len(before) != len(after) or len(controlnets) not in (0, len(before)):
        counts = f"{len(before)} and {len(after)} stages of steps, {len(controlnets)} of ControlNets"
        raise CheckFailed(f"job {job['id']}: its timeline has {counts}")
    ends = [span["start_s"] for span in [*before[1:], *_named(spans, "vae")]]
    steps = []
    for i, (first, rest) in enumerate(zip(before, after, strict=True)):
        waits = [span for span in _named(spans, COMPUTED, TRANSFER) if _is_within(span, rest)]
        waited = tuple(Wait(span["residual"], _seconds(span), span["name"] == TRANSFER) for span in waits)
        step = TracedStep(
            step_s=ends[i] - first["start_s"],
            first_s=_seconds(first),
            rest_s=_seconds(rest) - sum(wait.seconds for wait in waited),
            waits=waited,
        )
        if controlnets:
            arrived = [span["end_s"] for span in waits if span["residual"] == 0]
            began = max(controlnets[i]["start_s"], first["start_s"])
            step = step._replace(
                controlnet_s=_seconds(controlnets[i]),
                residual_s=max([end - began for end in arrived], default=0.0),
            )
        steps.append(step)
    return steps


def seconds_of(job_s: float, steps_s: Sequence[float], steps: int) -> float:
    """What a job of so many ``steps`` takes, by one of fewer: those after the first are alike."""
    later_s = steps_s[1:] or steps_s
    return job_s + (steps - len(steps_s)) * sum(later_s) / len(later_s)


def _named(spans: Iterable[_Span], *names: str) -> list[_Span]:
    return [span for span in spans if span["name"] in names]


def _seconds(span: _Span) -> float:
    return float(span["end_s"] - span["start_s"])


def _is_within(span: _Span, whole: _Span) -> bool:
    return bool(whole["start_s"] <= span["start_s"] <= whole["end_s"])
