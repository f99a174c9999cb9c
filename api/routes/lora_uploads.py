"""LoRAs that come through the API, as the body of a PUT."""

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from werkzeug.exceptions import UnsupportedMediaType

from api.auth.audit import note_changes
from api.auth.principal import current_principal
from api.json_response import json_response
from api.loras.publisher import LoraPublisher
from api.loras.staging import OCTETS
from api.loras.upload_validation import UploadBody, receive
from api.schemas.loras import LoraDetail, LoraPath, UploadQuery
from api.schemas.problems import error_responses
from shared.storage.loras import lora_key

BODY = {"required": True, "content": {OCTETS: {"schema": {"type": "string", "format": "binary"}}}}


def add_uploads(api: APIBlueprint, publisher: LoraPublisher, max_bytes: int) -> None:
    """The route of uploads through the API."""

    @api.put(
        "/v1/loras/<name>",
        summary="Upload or replace a LoRA",
        request_body=BODY,
        responses={200: LoraDetail, 201: LoraDetail, **error_responses(400, 408, 413, 415, 422, 429, 503)},
    )
    def upload_lora(path: LoraPath, query: UploadQuery) -> Response:
        """201: new. 200: replaced; jobs that were accepted with the old file fail with `lora_gone`."""
        if request.mimetype not in (OCTETS, ""):
            raise UnsupportedMediaType(f"the body must be a safetensors file, sent as {OCTETS}")
        request.max_content_length = max_bytes
        body = UploadBody(request.stream, length=request.content_length, limit=max_bytes)
        tenant = current_principal().tenant
        key = lora_key(path.name, tenant)
        publisher.quota.left(tenant, key, request.content_length or 0)
        with publisher.slots.slot(tenant):
            received = receive(key, body, publisher.staging, publisher.headers)
            note_changes({"sha256": received.sha256, "size_bytes": received.staged.size_bytes})
            lora = publisher.publish(path.name, tenant, received, query.max_async_steps)
        return json_response(lora.detail, 201 if lora.is_new else 200)
