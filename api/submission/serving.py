"""What living workers serve: warnings for jobs that must wait for one, and what an operator should know."""

import logging

from pydantic import BaseModel, Field

from api.services import Services
from shared.errors import ModelFailed
from shared.jobs.spec import JobSpec
from shared.messaging.celery_app import unet_queue
from shared.metrics import JOBS_UNSERVED, LOAD_FAILURES, UNSERVED
from shared.registry.workers import Serving, live_workers

log = logging.getLogger(__name__)


class Unserved(BaseModel):
    """What the catalog names and no living worker takes work for."""

    models: list[str] = Field([], description="their jobs stay queued")
    controlnets: list[str] = Field(
        [], description="computed by UNet workers or by nobody: SWIFT_CONTROLNET_FALLBACK"
    )

    @classmethod
    def of(cls, services: Services, serving: Serving) -> "Unserved":
        """Compare the catalog with the workers."""
        catalog = services.catalog
        return cls(
            models=serving.unserved("unet", catalog.models),
            controlnets=serving.unserved("controlnet", catalog.controlnets),
        )


def refuse_failed(services: Services, spec: JobSpec) -> None:
    """Raise `ModelFailed` where all workers that serve a job's model or ControlNet could not load it."""
    serving = Serving(services.roster.workers())
    failures = [serving.failure("unet", spec.model)]
    failures += [serving.failure("controlnet", name) for name in _controlnets(spec)]
    for failure in failures:
        if failure is not None:
            raise ModelFailed(failure)


def warn_of_unserved(services: Services, spec: JobSpec) -> list[str]:
    """What of a job that waits no living worker serves right now."""
    serving = Serving(services.roster.workers())
    warnings = []
    if not serving.by("unet", spec.model):
        warnings.append(f"no worker serves model {spec.model!r} right now: the job waits until one does")
    is_local = services.settings.controlnet_fallback == "local"
    then = "the UNet worker computes it, which takes longer" if is_local else "the job cannot end without one"
    for name in serving.unserved("controlnet", _controlnets(spec)):
        warnings.append(f"no worker serves ControlNet {name!r} right now: {then}")
    return warnings


def _controlnets(spec: JobSpec) -> list[str]:
    return sorted({controlnet.name for controlnet in spec.controlnets})


def count_unserved(services: Services) -> None:
    """Set the metrics of what is not served; every API process reports the same numbers."""
    serving, catalog = Serving(live_workers(services.control)), services.catalog
    for model in catalog.models:
        is_unserved = not serving.by("unet", model)
        waiting = int(services.control.llen(unet_queue(model))) if is_unserved else 0
        JOBS_UNSERVED.labels(model).set(waiting)
        UNSERVED.labels("model", model).set(is_unserved)
        LOAD_FAILURES.labels("model", model).set(serving.failures("unet", model))
    for controlnet in catalog.controlnets:
        UNSERVED.labels("controlnet", controlnet).set(not serving.by("controlnet", controlnet))
        LOAD_FAILURES.labels("controlnet", controlnet).set(serving.failures("controlnet", controlnet))
