"""Finished pictures over REST, straight from the image bucket."""

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from pydantic import BaseModel, Field

from api.answers import ImageList, answer, images_of
from api.jobs import JobPath
from api.openapi import operation_id
from api.problems import refusals
from api.services import Services
from shared.errors import Conflict, NotFound
from shared.jobs import Job
from shared.specs import ENDED, Picture

CHUNK_BYTES = 256 << 10
PNG = {
    "description": "The picture",
    "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
}


class ImagePath(BaseModel):
    """Which picture of which job."""

    id: str
    n: int = Field(ge=0)


def pictures_api(services: Services) -> APIBlueprint:
    """The routes of pictures."""
    tag = Tag(name="pictures", description="What jobs have drawn")
    api = APIBlueprint("pictures", __name__, abp_tags=[tag], operation_id_callback=operation_id)

    @api.get(
        "/v1/jobs/<id>/images",
        summary="List a job's pictures",
        responses={200: ImageList, **refusals(404, 503)},
    )
    def list_images(path: JobPath) -> Response:
        """Empty until the job has succeeded."""
        return answer(ImageList(images=images_of(services.jobs.get(path.id))))

    @api.get(
        "/v1/jobs/<id>/images/<int:n>",
        summary="Fetch a picture",
        responses={200: PNG, 304: None, **refusals(404, 409, 503)},
    )
    def read_image(path: ImagePath) -> Response:
        """The PNG; the request and the receipt are in its text chunks."""
        picture = _picture(services.jobs.get(path.id), path.n)
        if request.if_none_match.contains(picture.sha256):
            response = Response(status=304)
        else:
            size, body = services.images.open(picture.key)
            response = Response(body.iter_chunks(CHUNK_BYTES), mimetype="image/png")
            response.call_on_close(body.close)
            response.content_length = size
            response.headers["Content-Disposition"] = f'inline; filename="{path.id}-{path.n}.png"'
        response.set_etag(picture.sha256)
        response.cache_control.public = True
        response.cache_control.max_age = services.settings.job_ttl_s
        response.cache_control.immutable = True
        return response

    return api


def _picture(job: Job, n: int) -> Picture:
    if job.status not in ENDED:
        raise Conflict(f"job {job.id} is {job.status}: its pictures come when it has succeeded")
    if n >= len(job.images):
        raise NotFound(f"job {job.id} is {job.status} and has {len(job.images)} pictures, counted from 0")
    return job.images[n]
