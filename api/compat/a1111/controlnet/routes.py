"""``/controlnet/*`` of the extension sd-webui-controlnet: what there is, and control maps on request.

Source: Mikubill/sd-webui-controlnet, ``scripts/api.py``.
"""

from flask import Blueprint, Response, jsonify, request

from api.auth.principal import current_principal
from api.compat.a1111.controlnet.detect import detect
from api.compat.a1111.controlnet.models import control_types, model_names
from api.compat.a1111.controlnet.modules import module_details
from api.json_response import json_response
from api.routes.json_body import require_json_object
from api.services import Services
from shared.jobs.options import MAX_CONTROLNETS

#: Of the extension's API, since its release 1.1.
VERSION = 3


def add_controlnet_routes(api: Blueprint, services: Services) -> None:
    """Add them to ``api``."""
    catalog = services.catalog

    @api.get("/controlnet/version")
    def controlnet_version() -> Response:
        return jsonify({"version": VERSION})

    @api.get("/controlnet/model_list")
    def controlnet_models() -> Response:
        return jsonify({"model_list": model_names(catalog)})

    @api.get("/controlnet/module_list")
    def controlnet_modules() -> Response:
        with_labels = request.args.get("alias_names", "").lower() in ("1", "true", "on", "yes")
        details = module_details(with_labels=with_labels)
        return jsonify({"module_list": list(details), "module_detail": details})

    @api.get("/controlnet/control_types")
    def controlnet_types() -> Response:
        return jsonify({"control_types": control_types(services)})

    @api.get("/controlnet/settings")
    def controlnet_settings() -> Response:
        return jsonify({"control_net_unit_count": MAX_CONTROLNETS})

    @api.post("/controlnet/detect")
    def controlnet_detect() -> Response:
        require_json_object()
        return json_response(detect(request.get_json(), services, current_principal().tenant))
