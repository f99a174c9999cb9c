"""LoRAs that clients upload straight to S3 by a signed form, and then complete."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel, Field

from api.auth.audit import note_changes
from api.auth.principal import current_principal
from api.json_response import json_response
from api.loras.publisher import LoraPublisher
from api.loras.staging import URL_S
from api.loras.upload_validation import inspect_staged
from api.public_urls import public_url
from api.schemas.loras import LoraDetail, LoraPath, UploadQuery
from api.schemas.problems import error_responses
from shared.storage.loras import lora_key


class CompleteQuery(UploadQuery):
    """Which upload is complete."""

    upload: str = Field(description="`upload` of the response that had the URL")


class UploadResponse(BaseModel):
    """Where to POST a file as ``multipart/form-data``, and what to call then.

    ``fields`` come first, each as a part of the form, then the file as the part ``file``.
    """

    upload: str
    method: str = "POST"
    url: str
    fields: dict[str, str]
    max_bytes: int = Field(description="S3 refuses a larger file")
    expires_at: datetime
    complete: str = Field(description="POST here once the file is there; until then it is not a LoRA")


def add_direct_uploads(api: APIBlueprint, publisher: LoraPublisher, max_bytes: int) -> None:
    """The routes of uploads that do not pass through the API."""
    staging = publisher.staging

    @api.post(
        "/v1/loras/<name>/upload",
        summary="Get a URL to upload a LoRA straight to S3",
        responses={201: UploadResponse, **error_responses(422, 429, 503)},
    )
    def begin_upload(path: LoraPath) -> Response:
        """The URL takes a form with the whole file, without a detour through the API.

        `curl -F KEY=VALUE … -F file=@style.safetensors URL`, with every one of `fields` as `KEY=VALUE`.
        """
        tenant = current_principal().tenant
        key = lora_key(path.name, tenant)
        left = publisher.quota.left(tenant, key, 1)
        limit = max_bytes if left is None else min(left, max_bytes)
        upload = staging.begin()
        publisher.quota.open_form(tenant, upload, URL_S)
        url, fields = staging.form(key, upload, limit)
        begun = UploadResponse(
            upload=upload,
            url=url,
            fields=fields,
            max_bytes=limit,
            expires_at=datetime.now(UTC) + timedelta(seconds=URL_S),
            complete=public_url(f"/v1/loras/{quote(path.name)}/complete?upload={upload}"),
        )
        return json_response(begun, 201)

    @api.post(
        "/v1/loras/<name>/complete",
        summary="Publish a file that was uploaded to S3",
        responses={200: LoraDetail, 201: LoraDetail, **error_responses(404, 409, 413, 422, 429, 503)},
    )
    def complete_upload(path: LoraPath, query: CompleteQuery) -> Response:
        """The file is inspected; one that is refused is removed, and the response says why.

        A repeat has the same response, unless the LoRA has been replaced since.
        """
        tenant = current_principal().tenant
        done = publisher.completed(path.name, tenant, query.upload)
        if done is not None:
            return json_response(done)
        with publisher.slots.slot(tenant):
            received = inspect_staged(lora_key(path.name, tenant), query.upload, staging, max_bytes)
            bound = query.max_async_steps
            note_changes({"sha256": received.sha256, "size_bytes": received.staged.size_bytes})
            lora = publisher.publish(path.name, tenant, received, bound, upload=query.upload)
        return json_response(lora.detail, 201 if lora.is_new else 200)
