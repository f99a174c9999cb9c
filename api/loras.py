"""The LoRA catalogue over REST. It is the bucket: what any S3 client puts there appears here."""

from itertools import islice

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from pydantic import BaseModel, Field
from werkzeug.exceptions import UnsupportedMediaType

from api.answers import LoraAnswer, LoraDetail, LoraPage, answer
from api.openapi import Query, operation_id
from api.problems import refusals
from api.services import Services
from api.uploads import received_lora
from shared.blobs import Blob
from shared.errors import InvalidLora
from shared.loras import BOUND, LoraInfo, find_lora, list_loras, lora_key, read_lora_info

OCTETS = "application/octet-stream"
BODY = {"required": True, "content": {OCTETS: {"schema": {"type": "string", "format": "binary"}}}}


class LoraPath(BaseModel):
    """Which LoRA."""

    name: str


class UploadQuery(Query):
    """What a file cannot tell of itself."""

    max_async_steps: int | None = Field(
        None, ge=0, le=999_999, description="steps a job may at most run without it; unset: as the job says"
    )


class LoraQuery(Query):
    """How many LoRAs, and from where on."""

    limit: int = Field(200, ge=1, le=1000)
    cursor: str | None = Field(None, description="`next_cursor` of the page before")


def loras_api(services: Services) -> APIBlueprint:
    """The routes of LoRAs."""
    tag = Tag(name="loras", description="The LoRA catalogue: the bucket")
    api = APIBlueprint("loras", __name__, abp_tags=[tag], operation_id_callback=operation_id)
    bucket = services.loras

    @api.get("/v1/loras", summary="List LoRAs", responses={200: LoraPage, **refusals(422, 503)})
    def list_bucket(query: LoraQuery) -> Response:
        found = list(islice(list_loras(bucket, after=query.cursor), query.limit + 1))
        page = found[: query.limit]
        cursor = page[-1][0] if len(found) > len(page) else None
        return answer(LoraPage(loras=[_answer(name, blob) for name, blob in page], next_cursor=cursor))

    @api.get(
        "/v1/loras/<name>",
        summary="Look at a LoRA",
        responses={200: LoraDetail, **refusals(404, 422, 503)},
    )
    def read_lora(path: LoraPath) -> Response:
        """Rank and parts are read from the file's header; a file that is no LoRA says so in `problem`."""
        blob = find_lora(bucket, path.name)
        try:
            return answer(_detail(path.name, blob, read_lora_info(bucket, blob)))
        except InvalidLora as error:
            return answer(LoraDetail(**_answer(path.name, blob).model_dump(), problem=str(error)))

    @api.put(
        "/v1/loras/<name>",
        summary="Upload or replace a LoRA",
        request_body=BODY,
        responses={200: LoraDetail, 201: LoraDetail, **refusals(400, 413, 415, 422, 503)},
    )
    def upload_lora(path: LoraPath, query: UploadQuery) -> Response:
        """201: new. 200: replaced; jobs that were accepted with the old file fail with `lora_gone`."""
        key = lora_key(path.name)
        if request.mimetype not in (OCTETS, ""):
            raise UnsupportedMediaType(f"the body must be a safetensors file, sent as {OCTETS}")
        with received_lora(request, services.settings) as (file, info, sha256):
            is_new = not bucket.exists(key)
            metadata = {"sha256": sha256, "rank": str(info.rank), "parts": ",".join(info.parts)}
            if query.max_async_steps is not None:
                metadata[BOUND] = str(query.max_async_steps)
            bucket.put(key, file, content_type=OCTETS, metadata=metadata)
        return answer(_detail(path.name, bucket.head(key), info), 201 if is_new else 200)

    @api.delete("/v1/loras/<name>", summary="Delete a LoRA", responses={204: None, **refusals(404, 422, 503)})
    def delete_lora(path: LoraPath) -> Response:
        bucket.delete(find_lora(bucket, path.name).key)
        return Response(status=204)

    return api


def _answer(name: str, blob: Blob) -> LoraAnswer:
    return LoraAnswer(name=name, size_bytes=blob.size_bytes, etag=blob.etag, modified=blob.modified)


def _detail(name: str, blob: Blob, info: LoraInfo) -> LoraDetail:
    return LoraDetail(
        **_answer(name, blob).model_dump(), tensors=info.tensors, rank=info.rank, parts=info.parts
    )
