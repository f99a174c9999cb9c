"""Whether the operator allows an image as large as a request asks for."""

from api.schemas.job_request import JobRequest
from shared.errors import InvalidRequest


def check_size(request: JobRequest, *, limit_px: int) -> None:
    """Check width and height; raises `InvalidRequest`."""
    for field, value in (("width", request.width), ("height", request.height)):
        if value is not None and value > limit_px:
            raise InvalidRequest(f"{field} is {value}, the limit is {limit_px}", field=field)
