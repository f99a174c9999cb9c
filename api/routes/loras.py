"""`/v1/loras`: the LoRA catalog, which is the bucket: what any S3 client puts there appears here."""

from itertools import islice

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from pydantic import Field

from api.auth.principal import current_principal
from api.json_response import json_response
from api.loras.header_cache import InspectedHeader
from api.loras.publisher import LoraPublisher
from api.openapi import Query, operation_id
from api.routes.conditional import is_known
from api.routes.lora_direct_uploads import add_direct_uploads
from api.routes.lora_uploads import add_uploads
from api.schemas.loras import LoraDetail, LoraPage, LoraPath, LoraResponse
from api.schemas.problems import error_responses
from api.services import Services
from shared.errors import Forbidden, InvalidLora
from shared.storage.lora_names import folder_of
from shared.storage.loras import find_lora, find_own, list_loras, own_max_async_steps
from shared.storage.object_store import ObjectStat


class LoraQuery(Query):
    """Which page of the list."""

    limit: int = Field(200, ge=1, le=1000)
    cursor: str = Field(
        "",
        max_length=1024,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="`next_cursor` of the page before",
    )


def loras_api(services: Services) -> APIBlueprint:
    """The routes of LoRAs."""
    tag = Tag(name="loras", description="The LoRA catalog: the bucket")
    api = APIBlueprint("loras", __name__, abp_tags=[tag], operation_id_callback=operation_id)
    bucket = services.loras
    publisher, max_bytes = _publisher(services), services.settings.max_lora_bytes
    add_uploads(api, publisher, max_bytes)
    add_direct_uploads(api, publisher, max_bytes)

    @api.get("/v1/loras", summary="List LoRAs", responses={200: LoraPage, **error_responses(422, 503)})
    def list_bucket(query: LoraQuery) -> Response:
        """Every public object of the bucket, and the tenant's own; `problem` says why one cannot be used.

        A LoRA of its own hides a public one of its name. An admin sees the objects of other tenants, too.
        """
        who = current_principal()
        loras = list_loras(bucket, who.tenant, after=query.cursor, with_foreign=who.is_admin)
        found = list(islice(loras, query.limit + 1))
        page = found[: query.limit]
        cursor = page[-1].stat.key.removeprefix(folder_of(who.tenant)) if len(found) > len(page) else None
        headers = services.lora_headers.cached([lora.stat for lora in page])
        listed = [
            LoraResponse.listed(lora, bucket.name, header.info, header.problem)
            for lora, header in zip(page, headers, strict=True)
        ]
        return json_response(LoraPage(loras=listed, next_cursor=cursor))

    @api.get(
        "/v1/loras/<name>",
        summary="Read a LoRA",
        responses={200: LoraDetail, 304: None, **error_responses(404, 409, 422, 503)},
    )
    def read_lora(path: LoraPath) -> Response:
        """Rank and parts are read from the file's header; `problem` says why a file is not a LoRA."""
        (stat, _), found = services.lora_headers.get_or_read(path.name, current_principal().tenant)
        if is_known(stat.etag):
            response = Response(status=304)
        else:
            response = json_response(_detail(path.name, stat, bucket.name, found))
        response.set_etag(stat.etag, weak=True)  # weak: it is the object's, not the response's
        return response

    @api.delete(
        "/v1/loras/<name>", summary="Delete a LoRA", responses={204: None, **error_responses(404, 422, 503)}
    )
    def delete_lora(path: LoraPath) -> Response:
        """A public LoRA, which only the operator's own tenant can delete, is answered 403."""
        tenant = current_principal().tenant
        own = find_own(bucket, path.name, tenant)
        if own is None:
            find_lora(bucket, path.name, tenant)
            raise Forbidden(f"LoRA {path.name!r} is public, and not this tenant's to delete")
        bucket.delete(own.stat.key)
        return Response(status=204)

    return api


def _detail(name: str, stat: ObjectStat, bucket: str, found: InspectedHeader) -> LoraDetail:
    try:
        return LoraDetail.of(name, stat, bucket, found.checked(), own_max_async_steps(stat))
    except InvalidLora as error:
        return LoraDetail.of(name, stat, bucket, problem=str(error))


def _publisher(services: Services) -> LoraPublisher:
    return LoraPublisher(services.settings, services.loras, services.lora_headers, services.control)
