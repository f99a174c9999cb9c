"""A1111's lists and options, and calls about models that mean nothing here."""

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel

from api.auth.principal import current_principal
from api.compat.a1111.lists.items import (
    EXTENSIONS,
    SCRIPT_INFO,
    SCRIPTS,
    UPSCALERS,
    loras_of,
    models_of,
    samplers,
    schedules,
)
from api.compat.a1111.lists.memory import memory_of
from api.compat.a1111.options import read_options, set_options
from api.routes.json_body import require_json_object
from api.services import Services

#: Lists of what there is nothing of here.
_EMPTY: dict[str, Any] = {
    "latent-upscale-modes": [],  # of hires. fix, which is refused
    "sd-vae": [],
    "hypernetworks": [],
    "face-restorers": [],
    "realesrgan-models": [],
    "prompt-styles": [],
    "embeddings": {"loaded": {}, "skipped": {}},
}
#: Lists are always up to date.
_REFRESHES = ("refresh-checkpoints", "refresh-loras", "refresh-vae", "refresh-embeddings")
#: Flags of A1111's command line that clients look at.
_FLAGS: dict[str, Any] = {
    "api": True,
    "nowebui": True,
    "api_server_stop": False,
    "ckpt": None,
    "lora_dir": "",
    "ui_settings_file": "",
}
_NOT_UNLOADED = "nothing was done: workers load models for the jobs that come, and unload them for others"


def add_list_routes(api: Blueprint, services: Services) -> None:
    """Add them to ``api``."""
    catalog = services.catalog
    _add_options(api, services)
    _add_without_effect(api)
    for name, value in _EMPTY.items():
        _add_constant(api, name, value)
    _add_constant(api, "upscalers", _plain(UPSCALERS))
    _add_constant(api, "scripts", {"txt2img": SCRIPTS, "img2img": SCRIPTS})
    _add_constant(api, "script-info", _plain(SCRIPT_INFO))
    _add_constant(api, "extensions", _plain(EXTENSIONS))
    _add_constant(api, "samplers", _plain(samplers()))
    _add_constant(api, "schedulers", _plain(schedules()))
    _add_constant(api, "sd-models", _plain(models_of(catalog)))
    _add_constant(api, "cmd-flags", _FLAGS)

    @api.get("/sdapi/v1/loras")
    def list_loras() -> Response:
        return jsonify(_plain(loras_of(services.loras, current_principal().tenant)))

    @api.get("/sdapi/v1/memory")
    def read_memory() -> Response:
        return jsonify(memory_of(services.live_workers.read()))

    @api.get("/internal/ping")
    def ping() -> Response:
        return jsonify({})


def _add_options(api: Blueprint, services: Services) -> None:
    @api.get("/sdapi/v1/options")
    def get_options() -> Response:
        return jsonify(read_options(services))

    @api.post("/sdapi/v1/options")
    def post_options() -> Response:
        require_json_object()
        set_options(request.get_json(), services)
        return jsonify(None)


def _add_without_effect(api: Blueprint) -> None:
    for name in _REFRESHES:
        api.add_url_rule(f"/sdapi/v1/{name}", name, lambda: jsonify(None), methods=["POST"])
    for name in ("unload-checkpoint", "reload-checkpoint"):
        api.add_url_rule(
            f"/sdapi/v1/{name}", name, lambda: jsonify({"info": _NOT_UNLOADED}), methods=["POST"]
        )


def _add_constant(api: Blueprint, name: str, value: Any) -> None:
    """A list that is the same for everybody as long as the process runs."""
    api.add_url_rule(f"/sdapi/v1/{name}", name, lambda: jsonify(value))


def _plain(items: Sequence[BaseModel]) -> list[dict[str, Any]]:
    return [item.model_dump() for item in items]
