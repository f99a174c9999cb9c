"""``progress``, ``interrupt`` and ``skip``: about the caller's own call that runs, or that will run next.

Clients poll the first one, and some wait until nothing runs before they send a call: what others generate is
not told. Source: AUTOMATIC1111/stable-diffusion-webui, ``modules/api/api.py``, ``modules/shared_state.py``.
"""

import time

from flask import Blueprint, Response, request
from pydantic import BaseModel

from api.auth.principal import current_principal
from api.compat.a1111.generation.images.preview import current_image
from api.compat.image_json import file_of, image_json
from api.json_response import json_response
from api.services import Services
from shared.errors import NotFound
from shared.jobs.record import ENDED, Job

_FIELDS = ("spec", "created_at", "started_at", "step", "total", "estimate")
#: As much as there is of a call that has just begun: 0 means that nothing runs.
_LEAST = 0.01
_TRUE = ("1", "true", "yes", "on")


class State(BaseModel):
    """What A1111 says of a call; by default of none."""

    skipped: bool = False
    interrupted: bool = False
    stopping_generation: bool = False
    job: str = ""
    job_count: int = 0
    job_timestamp: str = "0"
    job_no: int = 0
    sampling_step: int = 0
    sampling_steps: int = 0


class ProgressResponse(BaseModel):
    """``progress`` is a share, ``eta_relative`` seconds, ``current_image`` base64 of a PNG."""

    progress: float = 0.0
    eta_relative: float = 0.0
    state: State = State()
    current_image: str | None = None
    textinfo: str | None = None


class NoFields(BaseModel):
    """A JSON object all the same: clients parse it."""


def add_progress_routes(api: Blueprint, services: Services) -> None:
    """Add the three calls to ``api``."""

    @api.get("/sdapi/v1/progress")
    def progress() -> Response:
        calls = _unfinished_calls(services)
        if not calls:
            return json_response(ProgressResponse())
        without_image = request.args.get("skip_current_image", "").lower() in _TRUE
        job = calls[0]
        image = current_image(job, services) if job.started_at and not without_image else None
        return image_json(
            [] if image is None else [file_of(image)], lambda texts: _progress(calls, services, texts)
        )

    @api.post("/sdapi/v1/interrupt")
    def interrupt() -> Response:
        return _stop_first(services)

    @api.post("/sdapi/v1/skip")
    def skip() -> Response:
        return _stop_first(services)


def _unfinished_calls(services: Services) -> list[Job]:
    """Of the caller's tenant, oldest first; those that run come before those that wait."""
    job_ids = services.waiting_calls.read(current_principal().tenant)
    found = services.jobs.read(job_ids, _FIELDS).values()
    jobs = [job for job in found if isinstance(job, Job) and job.status not in ENDED]
    return sorted(jobs, key=lambda job: (job.status != "running", job.created_at))


def _stop_first(services: Services) -> Response:
    for job in _unfinished_calls(services)[:1]:
        try:
            services.jobs.cancel(job.id, tenant=current_principal().tenant)
        except NotFound:  # deleted meanwhile
            continue
    return json_response(NoFields())


def _progress(calls: list[Job], services: Services, images: list[str]) -> ProgressResponse:
    job = calls[0]
    total = job.total or job.spec.num_inference_steps
    return ProgressResponse(
        progress=min(1.0, max(_LEAST, job.step / total)),
        eta_relative=_eta_s(job, total, services.jobs.now()),
        state=State(
            job="scripts_txt2img" if job.spec.image is None else "scripts_img2img",
            job_count=len(calls),
            job_timestamp=time.strftime("%Y%m%d%H%M%S", time.gmtime(job.created_at)),
            sampling_step=job.step,
            sampling_steps=total,
        ),
        current_image=images[0] if images else None,
        textinfo=None if job.status == "running" else "Waiting for a worker",
    )


def _eta_s(job: Job, total: int, now: float) -> float:
    """From how long its steps have taken, before its first one as the job was estimated."""
    if job.started_at is not None and job.step > 0:
        return max(0.0, now - job.started_at) * (total - job.step) / job.step
    if job.estimate is None or job.estimate.eta_s is None:
        return 0.0
    return max(0.0, job.estimate.eta_s - (now - job.created_at))
