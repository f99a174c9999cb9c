"""Images of jobs, streamed from the image bucket: generated images, control images and control maps."""

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from pydantic import BaseModel, Field

from api.auth.principal import current_principal
from api.json_response import json_response
from api.openapi import operation_id
from api.routes.conditional import is_known
from api.routes.images.archive import CHUNK_BYTES, archive_etag, image_file_name, write_archive
from api.routes.images.binary_answers import accepted_type, binary_answer
from api.routes.images.preprocess import add_preprocess
from api.routes.images.preview import add_preview
from api.routes.images.thumbnails import FORMAT, SIDE_PX, Thumbnails, is_small
from api.routes.jobs import JobPath
from api.schemas.job_responses import ImageList, images_of, map_of
from api.schemas.problems import error_responses
from api.services import Services
from shared.errors import Conflict, ImageGone, NotFound
from shared.image_files.formats import OUTPUT_FORMATS, PNG, format_of_name, media_type
from shared.jobs.record import ENDED, Job, StoredImage
from shared.jobs.spec import ControlNetSpec
from shared.keys import control_key

PNG_FILE = binary_answer("The image, a PNG by either type", media_type(PNG))
IMAGE_FILE = binary_answer("The image, in the `output_format` of its job", *map(media_type, OUTPUT_FORMATS))
THUMBNAIL = binary_answer("A JPEG, or the file itself of a small image", *map(media_type, OUTPUT_FORMATS))
ZIP = "application/zip"
ARCHIVE = binary_answer("A ZIP file by either type", ZIP)


class ImagePath(BaseModel):
    """Which image of which job."""

    id: str
    n: int = Field(ge=0)


def images_api(services: Services) -> APIBlueprint:
    """The routes of images."""
    tag = Tag(name="images", description="Images that jobs have generated, and those that guided them")
    api = APIBlueprint("images", __name__, abp_tags=[tag], operation_id_callback=operation_id)

    @api.get(
        "/v1/jobs/<id>/images",
        summary="List the images of a job",
        responses={200: ImageList, **error_responses(404, 503)},
    )
    def list_images(path: JobPath) -> Response:
        """Empty until the job has succeeded."""
        return json_response(ImageList(images=images_of(_job(services, path.id))))

    @api.get(
        "/v1/jobs/<id>/images/<int:n>",
        summary="Get an image",
        responses={200: IMAGE_FILE, 304: None, **error_responses(404, 409, 410, 503)},
    )
    def read_image(path: ImagePath) -> Response:
        """The file; the receipt is in the text chunks of a PNG, and in the XMP of a JPEG or WebP."""
        job = _job(services, path.id)
        image = _image(job, path.n)
        return _send(services, image.key, image.sha256, image_file_name(job, path.n))

    @api.get(
        "/v1/jobs/<id>/images.zip",
        summary="Get all images in one file",
        responses={200: ARCHIVE, 304: None, **error_responses(404, 409, 410, 503)},
    )
    def read_archive(path: JobPath) -> Response:
        """A ZIP file, `ID-0.png` and so on, written while it is sent: its length is not told before."""
        job = _job(services, path.id)
        _image(job, 0)
        return _send_archive(services, job)

    _add_thumbnails(api, services)
    _add_control_images(api, services)
    add_preprocess(api, services)
    add_preview(api, services)
    return api


def _add_thumbnails(api: APIBlueprint, services: Services) -> None:
    thumbnails = Thumbnails(services)

    @api.get(
        "/v1/jobs/<id>/images/<int:n>/thumbnail",
        summary="Get a small version of an image",
        responses={200: THUMBNAIL, 304: None, **error_responses(404, 409, 410, 503)},
    )
    def read_thumbnail(path: ImagePath) -> Response:
        """For lists: at most 320 pixels a side, without the receipt; an image that is no larger is sent as it
        is.
        """
        job = _job(services, path.id)
        image = _image(job, path.n)
        if is_small(image):
            return _send(services, image.key, image.sha256, image_file_name(job, path.n))
        etag = f"{image.sha256}-{SIDE_PX}"
        if is_known(etag):
            response = Response(status=304)
        else:
            response = Response(thumbnails.read(image), mimetype=accepted_type(media_type(FORMAT)))
        response.vary.add("Accept")
        return _cached(response, etag, services)


def _add_control_images(api: APIBlueprint, services: Services) -> None:
    @api.get(
        "/v1/jobs/<id>/controlnets/<int:n>/image",
        summary="Get a control image",
        responses={200: PNG_FILE, 304: None, **error_responses(404, 410, 503)},
    )
    def read_control_image(path: ImagePath) -> Response:
        """The control image of ControlNet `n` of the job, as it was stored."""
        job = _job(services, path.id)
        sha256 = _controlnet(job, path.n).image
        return _send(services, control_key(sha256, job.tenant), sha256, f"{path.id}-control-{path.n}.png")

    @api.get(
        "/v1/jobs/<id>/controlnets/<int:n>/map",
        summary="Get a control map",
        responses={200: PNG_FILE, 304: None, **error_responses(404, 409, 410, 503)},
    )
    def read_map(path: ImagePath) -> Response:
        """The input of ControlNet `n` of the job: a preprocessor's output, or the control image itself."""
        job = _job(services, path.id)
        controlnet, sha256 = _controlnet(job, path.n), map_of(job, path.n)
        if sha256 is None:
            raise Conflict(f"job {job.id} is {job.status}: {controlnet.preprocessor} has computed no map yet")
        return _send(services, control_key(sha256, job.tenant), sha256, f"{path.id}-map-{path.n}.png")


def _job(services: Services, job_id: str) -> Job:
    return services.jobs.get(job_id, tenant=current_principal().tenant)


def _send(services: Services, key: str, sha256: str, name: str) -> Response:
    """An image of the image bucket, which never changes."""
    if is_known(sha256):
        response = Response(status=304)
    else:
        try:
            size, body = services.images.open(key)
        except NotFound:
            raise ImageGone("the image was deleted: its time is over") from None
        mimetype = accepted_type(media_type(format_of_name(key)))
        response = Response(body.iter_chunks(CHUNK_BYTES), mimetype=mimetype)
        response.call_on_close(body.close)
        response.content_length = size
        response.headers["Content-Disposition"] = f'inline; filename="{name}"'
    response.vary.add("Accept")
    return _cached(response, sha256, services)


def _send_archive(services: Services, job: Job) -> Response:
    """A ZIP file; refused where an image is gone before its first byte is sent."""
    etag = archive_etag(job)
    if is_known(etag):
        return _cached(Response(status=304), etag, services)
    if not all(services.images.exists(image.key) for image in job.images):
        raise ImageGone("the images were deleted: their time is over")
    response = Response(write_archive(job, services.images), mimetype=accepted_type(ZIP))
    response.headers["Content-Disposition"] = f'attachment; filename="{job.id}.zip"'
    response.vary.add("Accept")
    return _cached(response, etag, services)


def _cached(response: Response, etag: str, services: Services) -> Response:
    response.set_etag(etag)
    response.cache_control.private = True  # a job that is deleted leaves nothing in caches of others
    response.cache_control.max_age = services.settings.image_ttl_s
    response.cache_control.immutable = True
    return response


def _image(job: Job, n: int) -> StoredImage:
    if job.status not in ENDED:
        raise Conflict(f"job {job.id} is {job.status}: it has images once it has succeeded")
    if n >= len(job.images):
        raise NotFound(f"job {job.id} is {job.status} and has {len(job.images)} images, counted from 0")
    return job.images[n]


def _controlnet(job: Job, n: int) -> ControlNetSpec:
    controlnets = job.spec.controlnets
    if n >= len(controlnets):
        raise NotFound(f"job {job.id} has {len(controlnets)} ControlNets, counted from 0")
    return controlnets[n]
