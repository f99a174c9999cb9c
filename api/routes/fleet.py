"""The fleet over REST: who is alive, what waits, and how jobs stand."""

from typing import get_args

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from pydantic import BaseModel, Field
from redis.exceptions import RedisError

from api.fleet_status import FleetStatus, WithoutWorkers
from api.openapi import operation_id
from api.routes.catalog import add_catalog
from api.schemas.jobs import answer
from api.schemas.problems import refusals
from api.services import Services
from shared import keys
from shared.jobs.spec import Status
from shared.messaging.celery_app import assist_queue, controlnet_queue, unet_queue
from shared.redis_clients import without_retries
from shared.registry.lora_inventory import LoraInventory, list_disk_caches, read_inventories
from shared.registry.workers import Heartbeat, live_workers


class FleetResponse(BaseModel):
    """Who is alive, what waits, and how jobs stand."""

    workers: list[Heartbeat]
    holdings: list[LoraInventory] = Field(description="LoRAs that live UNet workers have at hand")
    on_disk: dict[str, list[str]] = Field(description="LoRAs on the disk of each of their hosts")
    queues: dict[str, int] = Field(description="messages that wait, by queue")
    steps: dict[str, int] | None = Field(
        description="waiting steps of each ControlNet; null: the residual Redis does not answer"
    )
    jobs: dict[Status, int] = Field(description="jobs by status")
    without_workers: WithoutWorkers


def fleet_api(services: Services) -> APIBlueprint:
    """The routes of the catalog and of the fleet."""
    tag = Tag(name="fleet", description="What is served, and by whom")
    api = APIBlueprint("fleet", __name__, abp_tags=[tag], operation_id_callback=operation_id)
    catalog, control = services.catalog, services.control
    add_catalog(api, services)

    @api.get("/v1/fleet", summary="Look at the fleet", responses={200: FleetResponse, **refusals(503)})
    def read_fleet() -> Response:
        queues = [queue(name) for name in catalog.models for queue in (unet_queue, assist_queue)]
        queues += [controlnet_queue(name) for name in catalog.controlnets]
        statuses: tuple[Status, ...] = get_args(Status)
        pipe = control.pipeline(transaction=False)
        for queue in queues:
            pipe.llen(queue)
        for status in statuses:
            pipe.zcard(keys.by_status(status))
        counts = pipe.execute()
        workers = live_workers(control)
        holdings = read_inventories(control, [beat.name for beat in workers if beat.kind == "unet"])
        return answer(
            FleetResponse(
                workers=workers,
                holdings=holdings,
                on_disk=list_disk_caches(control, sorted({holding.host for holding in holdings})),
                queues=dict(zip(queues, counts, strict=False)),
                steps=_waiting_steps(services),
                jobs=dict(zip(statuses, counts[len(queues) :], strict=True)),
                without_workers=FleetStatus(workers).compare(catalog),
            )
        )

    return api


def _waiting_steps(services: Services) -> dict[str, int] | None:
    controlnets = list(services.catalog.controlnets)
    pipe = without_retries(services.residuals[0]).pipeline(transaction=False)
    for controlnet in controlnets:
        pipe.llen(keys.controlnet_steps(controlnet))
    try:
        return dict(zip(controlnets, pipe.execute(), strict=True))
    except RedisError:
        return None
