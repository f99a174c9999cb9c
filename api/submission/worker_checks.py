"""Warns of jobs that must wait for a worker, and refuses those that no worker can load."""

from collections.abc import Iterable

from api.fleet_status import FleetStatus
from api.services import Services
from shared.errors import ModelFailed
from shared.jobs.options import ControlNetOptions
from shared.jobs.spec import JobSpec


def refuse_unloadable(services: Services, model: str, controlnets: Iterable[ControlNetOptions]) -> None:
    """Raise `ModelFailed` where all workers that serve a job's model or ControlNet could not load it."""
    status = FleetStatus(services.live_workers.read())
    failures = [status.load_error("unet", model)]
    failures += [status.load_error("controlnet", name) for name in _names(controlnets)]
    for failure in failures:
        if failure is not None:
            raise ModelFailed(failure)


def warn_without_workers(services: Services, spec: JobSpec) -> list[str]:
    """What of a job that waits no living worker serves right now."""
    status = FleetStatus(services.live_workers.read())
    warnings = []
    if not status.workers_for("unet", spec.model):
        warnings.append(f"no worker serves model {spec.model!r} right now: the job waits until one does")
    for name in status.without_workers("controlnet", _names(spec.controlnets)):
        warnings.append(f"no worker may load ControlNet {name!r} right now: the job cannot end without one")
    return warnings


def _names(controlnets: Iterable[ControlNetOptions]) -> list[str]:
    return sorted({controlnet.name for controlnet in controlnets})
