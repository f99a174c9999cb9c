"""`/v1/controlnets/preprocess`: the control map of an image, without a job."""

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint

from api.auth.principal import current_principal
from api.routes.images.binary_answers import accepted_type, binary_answer
from api.routes.json_body import require_json_object
from api.schemas.preprocess_request import PreprocessRequest
from api.schemas.problems import error_responses
from api.services import Services
from api.submission.images.control_maps import compute_control_map
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
        png = compute_control_map(body, services, current_principal().tenant)
        response = Response(png, mimetype=accepted_type(media_type(PNG)))
        response.headers["Content-Disposition"] = f'inline; filename="{body.preprocessor}.png"'
        response.vary.add("Accept")
        response.cache_control.no_store = True
        return response
