"""`/v1/jobs/ID/preview`: the latest preview of a job as an image."""

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from pydantic import Field

from api.auth.principal import current_principal
from api.openapi import Query
from api.routes.conditional import is_known
from api.routes.images.binary_answers import accepted_type, binary_answer
from api.routes.images.latest_preview import latest_preview
from api.routes.jobs import JobPath
from api.schemas.problems import error_responses
from api.services import Services
from shared.errors import NoPreview
from shared.image_files.formats import PNG, media_type
from shared.jobs.record import no_job

PREVIEW_FILE = binary_answer("A PNG with one pixel for each latent, by either type", media_type(PNG))


class PreviewQuery(Query):
    """Makes the URL of each preview its own."""

    step: int | None = Field(None, ge=0, description="ignored: an `<img>` loads again when its `src` changes")


def add_preview(api: APIBlueprint, services: Services) -> None:
    """Add the route to ``api``."""

    @api.get(
        "/v1/jobs/<id>/preview",
        summary="Get the latest preview of a job",
        responses={200: PREVIEW_FILE, 304: None, **error_responses(404, 422, 503)},
    )
    def read_preview(path: JobPath, query: PreviewQuery) -> Response:
        """404 with the code `no_preview` while there is none: a worker makes previews of a running job once
        somebody has asked, here or by its stream of events, and for half a minute after that.
        """
        if path.id not in services.jobs.owned([path.id], current_principal().tenant):
            raise no_job(path.id)
        preview = latest_preview(services.control, path.id)
        if preview is None:
            raise NoPreview(f"job {path.id} has no preview yet")
        if is_known(preview.event_id):
            response = Response(status=304)
        else:
            response = Response(preview.png, mimetype=accepted_type(media_type(PNG)))
        response.vary.add("Accept")
        response.set_etag(preview.event_id)
        response.headers["Cache-Control"] = "no-store"
        return response
