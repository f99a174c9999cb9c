"""`/v1/controlnets/preprocess`: the control map of an image, without a job."""

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint

from api.auth.principal import current_principal
from api.routes.images.binary_answers import accepted_type, binary_answer
from api.routes.json_body import require_json_object
from api.schemas.preprocess_request import PreprocessRequest
from api.schemas.problems import error_responses
from api.services import Services
from api.submission.images.control_maps import ControlMaps, Size
from shared.errors import InvalidRequest
from shared.image_files.formats import PNG, media_type

_CONTROL_MAP = binary_answer("The control map, a PNG by either type", media_type(PNG))


def add_preprocess(api: APIBlueprint, services: Services) -> None:
    """Add the route to ``api``."""

    @api.before_request
    def read_json() -> None:
        if request.endpoint == f"{api.name}.{preprocess_image.__name__}":
            require_json_object()

    @api.post(
        "/v1/controlnets/preprocess",
        summary="Compute a control map",
        responses={200: _CONTROL_MAP, **error_responses(400, 408, 413, 415, 422, 429, 503)},
    )
    def preprocess_image(body: PreprocessRequest) -> Response:
        """The PNG that a ControlNet would be given for the image in a job of this width and height.

        Nothing is stored, and no worker is asked.
        """
        png = ControlMaps(services, current_principal().tenant).compute(
            body.image,
            body.preprocessor,
            body.preprocessor_options,
            field="image",
            size_of=lambda own: _size(body, own, services.settings.max_side_px),
        )
        response = Response(png, mimetype=accepted_type(media_type(PNG)))
        response.headers["Content-Disposition"] = f'inline; filename="{body.preprocessor}.png"'
        response.vary.add("Accept")
        response.cache_control.no_store = True
        return response


def _size(body: PreprocessRequest, own: Size, limit_px: int) -> Size:
    size = body.width or own[0], body.height or own[1]
    for field, asked, side in (("width", body.width, size[0]), ("height", body.height, size[1])):
        if side > limit_px:
            hint = "" if asked else ": ask for a smaller one than the image's"
            raise InvalidRequest(f"{field} is {side}, the limit is {limit_px}{hint}", field=field)
    return size
