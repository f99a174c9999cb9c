"""Whether an image may be as large as a request asks for."""

from api.schemas.job_request import JobRequest
from api.services import Services
from shared.errors import InvalidRequest
from shared.image_files.formats import side_limit_px


def largest_side_px(request: JobRequest, services: Services, model: str) -> int:
    """The most that a side may have: of the operator, the image's format, and the model, if it says so."""
    limit = side_limit_px(request.output_format, services.settings.max_side_px)
    return min(limit, services.families.largest_side(model) or limit)


def check_size(request: JobRequest, *, limit_px: int) -> None:
    """Check width and height; raises `InvalidRequest`."""
    for field, value in (("width", request.width), ("height", request.height)):
        if value is not None and value > limit_px:
            raise InvalidRequest(f"{field} is {value}, the limit is {limit_px}", field=field)
