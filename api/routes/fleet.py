"""`/v1/fleet`: live workers and what they hold, queues, and numbers of jobs."""

from collections.abc import Iterable
from typing import get_args

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from pydantic import BaseModel, Field
from redis.exceptions import RedisError

from api.advice import Advice, advise, read_waiting
from api.auth.principal import current_principal
from api.fleet_status import FleetStatus, WithoutWorkers
from api.json_response import json_response
from api.openapi import operation_id
from api.routes.catalog import add_catalog
from api.schemas.problems import error_responses
from api.services import Services
from api.tenant_view import only_own_jobs, only_seen_loras
from shared import keys
from shared.jobs.record import Status
from shared.messaging.celery_app import controlnet_queue, encode_queue, follow_queue, unet_queue
from shared.redis_clients import without_retries
from shared.registry.lora_inventory import LoraInventory, list_disk_caches, read_inventories
from shared.registry.workers import Heartbeat, live_workers


class FleetResponse(BaseModel):
    """The fleet: live workers and what they hold, queues, and numbers of jobs."""

    workers: list[Heartbeat] = Field(description="the last heartbeat of each live worker")
    lora_inventory: list[LoraInventory] = Field(description="LoRAs that each live UNet worker holds")
    lora_disk_cache: dict[str, list[str]] = Field(
        description="versions of LoRAs in the disk cache of each host with UNet workers"
    )
    queues: dict[str, int] = Field(
        description="number of waiting messages, by queue; of a model's, with the jobs that are held"
    )
    queued_steps: dict[str, int] | None = Field(
        description="number of waiting steps, by ControlNet; null: the residual Redis does not answer"
    )
    jobs: dict[Status, int] = Field(description="number of jobs, by status")
    without_workers: WithoutWorkers = Field(
        description="entries of the catalog for which no live worker takes work"
    )
    advice: list[Advice] = Field(description="what is short of devices, and which devices were idle")


def fleet_api(services: Services) -> APIBlueprint:
    """The routes `/v1/fleet`, `/v1/models` and `/v1/controlnets`."""
    tag = Tag(name="fleet", description="What is served, and by which workers")
    api = APIBlueprint("fleet", __name__, abp_tags=[tag], operation_id_callback=operation_id)
    catalog, control = services.catalog, services.control
    add_catalog(api, services)

    @api.get(
        "/v1/fleet", summary="Read the fleet's state", responses={200: FleetResponse, **error_responses(503)}
    )
    def read_fleet() -> Response:
        """Jobs and LoRAs of other tenants are named to admins only; numbers are of all tenants."""
        queues = [queue(name) for name in catalog.models for queue in (follow_queue, encode_queue)]
        queues += [controlnet_queue(name) for name in catalog.controlnets]
        statuses: tuple[Status, ...] = get_args(Status)
        pipe = control.pipeline(transaction=False)
        for queue in queues:
            pipe.llen(queue)
        for status in statuses:
            pipe.zcard(keys.by_status(status))
        counts = pipe.execute()
        waiting = services.fair_queue.count_waiting(list(catalog.models))
        workers = live_workers(control)
        inventory = read_inventories(control, [worker.name for worker in workers if worker.kind == "unet"])
        disk_cache = list_disk_caches(control, sorted({worker.host for worker in inventory}))
        queued_steps = _count_queued_steps(services, {worker.platform for worker in workers})
        without_workers = FleetStatus(workers).compare(catalog)
        advice = advise(catalog, workers, read_waiting(services.jobs), queued_steps or {})
        who = current_principal()
        if not who.is_admin:
            workers = only_own_jobs(workers, services.jobs, who.tenant)
            inventory, disk_cache = only_seen_loras(inventory, disk_cache, services.loras.name, who.tenant)
        return json_response(
            FleetResponse(
                workers=workers,
                lora_inventory=inventory,
                lora_disk_cache=disk_cache,
                queues={unet_queue(name): count for name, count in waiting.items()}
                | dict(zip(queues, counts, strict=False)),
                queued_steps=queued_steps,
                jobs=dict(zip(statuses, counts[len(queues) :], strict=True)),
                without_workers=without_workers,
                advice=advice,
            )
        )

    return api


def _count_queued_steps(services: Services, platforms: Iterable[str]) -> dict[str, int] | None:
    """Steps that any worker may compute, and those for each of ``platforms``."""
    controlnets = list(services.catalog.controlnets)
    queues = [(controlnet, platform) for controlnet in controlnets for platform in {"", *platforms}]
    pipe = without_retries(services.residuals[0]).pipeline(transaction=False)
    for controlnet, platform in queues:
        pipe.llen(keys.controlnet_steps(controlnet, platform))
    found = dict.fromkeys(controlnets, 0)
    try:
        for (controlnet, _), length in zip(queues, pipe.execute(), strict=True):
            found[controlnet] += length
    except RedisError:
        return None
    return found
