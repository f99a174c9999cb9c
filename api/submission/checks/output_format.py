"""The quality of an image's file: lossy formats alone have one."""

from api.schemas.job_request import JobRequest
from shared.errors import InvalidRequest
from shared.image_files.formats import DEFAULT_QUALITY, PNG


def check_quality(request: JobRequest) -> int | None:
    """The quality that the files will have; raises `InvalidRequest` for one of a format that has none."""
    if request.output_format != PNG:
        return request.output_quality or DEFAULT_QUALITY
    if request.output_quality is not None:
        detail = "output_quality is of output_format 'jpeg' or 'webp': a PNG loses nothing"
        raise InvalidRequest(detail, field="output_quality")
    return None
