"""A1111's API (https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/API): jobs in that API's words.

No part of the OpenAPI document: clients bring their own.
"""

from flask import Blueprint
from pydantic import ValidationError

from api.compat.a1111.controlnet.routes import add_controlnet_routes
from api.compat.a1111.errors import explain_invalid
from api.compat.a1111.generation.routes import add_generation_routes
from api.compat.a1111.lists.routes import add_list_routes
from api.compat.a1111.png_info import add_png_info_route
from api.compat.a1111.progress import add_progress_routes
from api.services import Services


def a1111_api(services: Services) -> Blueprint:
    """All routes of this API."""
    api = Blueprint("a1111", __name__)
    api.register_error_handler(ValidationError, explain_invalid)
    add_generation_routes(api, services)
    add_progress_routes(api, services)
    add_png_info_route(api, services)
    add_list_routes(api, services)
    add_controlnet_routes(api, services)
    return api
