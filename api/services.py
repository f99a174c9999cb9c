"""Clients of the servers and stores that the API uses."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from celery import Celery

from api.auth.audit import AuditLog
from api.auth.bounded_verifier import BoundedVerifier
from api.auth.caller_options import CallerOptions
from api.auth.lookups import Lookups
from api.auth.rate_limits import RateLimits
from api.auth.tenant_cache import TenantCache
from api.auth.verifier import KeyVerifier
from api.dispatch import Dispatcher
from api.estimates import CACHE_S, Estimator
from api.loras.header_cache import LoraHeaderCache
from api.server.tenant_slots import TenantSlots
from api.server.threads import Offload, find_offload, find_pause
from api.server.waiting_calls import WaitingCalls
from shared.catalog.entries import Catalog
from shared.catalog.model_families import ModelFamilies
from shared.jobs.store import JobStore
from shared.messaging.celery_app import make_celery
from shared.redis_clients import control_redis, residual_servers
from shared.registry.live_workers import LiveWorkersCache
from shared.scheduling.fair_queue import FairQueue
from shared.settings import Settings
from shared.storage.image_bucket import ImageBucket
from shared.storage.object_store import Bucket
from shared.tenants.key_store import KeyStore
from shared.tenants.sessions import SessionStore
from shared.tenants.store import TenantStore
from shared.webhooks.deliveries import DeliveryStore
from shared.webhooks.endpoint_store import EndpointStore
from shared.webhooks.targets import Targets

if TYPE_CHECKING:
    from redis import Redis


#: Connections for streams that are about to be opened or refused.
STREAM_SPARE = 100
#: How long what /readyz has found is good for: strangers may ask, too.
READINESS_CACHE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Services:
    """All clients, made once for a process; tests pass their own."""

    settings: Settings
    catalog: Catalog
    jobs: JobStore
    celery: Celery
    loras: Bucket
    lora_headers: LoraHeaderCache
    live_workers: LiveWorkersCache
    images: ImageBucket
    control: "Redis"
    streams: "Redis"  # the same server, over connections that wait for events
    offload: Offload
    residuals: Sequence["Redis"]
    process: str  # the name under which this process publishes its metrics
    readiness_cache_s: float = READINESS_CACHE_S
    estimates_cache_s: float = CACHE_S  # how long what estimates are made of is used before it is read again

    @cached_property
    def tenants(self) -> TenantStore:
        """Who owns jobs and LoRAs."""
        return TenantStore(self.control)

    @cached_property
    def tenant_cache(self) -> TenantCache:
        """The same, as it was a few seconds ago: for what every request asks."""
        return TenantCache(self.tenants, self.settings.auth_cache_s)

    @cached_property
    def api_keys(self) -> KeyStore:
        """What is stored of API keys."""
        return KeyStore(self.control)

    @cached_property
    def verifier(self) -> KeyVerifier:
        """Finds out who a request is from."""
        sessions = SessionStore(self.control, self.settings.session_ttl_s)
        return KeyVerifier(self.settings, self.api_keys, sessions)

    @cached_property
    def bounded_verifier(self) -> BoundedVerifier:
        """Does so at a bounded cost, for requests that may have wrong keys."""
        pause = find_pause()
        return BoundedVerifier(self.verifier, Lookups(pause), pause)

    @cached_property
    def rate_limits(self) -> RateLimits:
        """Counts the requests of tenants."""
        return RateLimits(self.settings, self.control, self.tenant_cache)

    @cached_property
    def caller_options(self) -> CallerOptions:
        """What callers of compatible APIs have set."""
        return CallerOptions(self.control, self.settings.a1111_options_ttl_s)

    @cached_property
    def waiting_calls(self) -> WaitingCalls:
        """Calls of compatible APIs that wait for their jobs, and may be asked about by others."""
        return WaitingCalls(self.control)

    @cached_property
    def audit(self) -> AuditLog:
        """What admins have done."""
        return AuditLog(self.control)

    @cached_property
    def dispatcher(self) -> Dispatcher:
        """Sends accepted jobs to workers."""
        return Dispatcher(self.settings, self.jobs, self.celery)

    @cached_property
    def event_slots(self) -> TenantSlots:
        """Calls that follow jobs at once: each holds a connection of ``streams``."""
        return TenantSlots(self.settings.api_event_streams, policy="event_streams", what="event streams")

    @cached_property
    def webhooks(self) -> EndpointStore:
        """The webhook endpoints of tenants."""
        return EndpointStore(self.control)

    @cached_property
    def webhook_deliveries(self) -> DeliveryStore:
        """What was sent to them, and is to be."""
        return DeliveryStore(self.control, self.settings.webhook_ttl_s)

    @cached_property
    def webhook_targets(self) -> Targets:
        """Which URLs they may have."""
        return Targets(self.settings.webhook_private_targets)

    @cached_property
    def fair_queue(self) -> FairQueue:
        """Where accepted jobs wait."""
        return FairQueue(self.control, self.settings)

    @cached_property
    def estimator(self) -> Estimator:
        """Tells when jobs will be done."""
        return Estimator(self.settings, self.jobs, self.live_workers, self.families, self.estimates_cache_s)

    @cached_property
    def families(self) -> ModelFamilies:
        """What is known of the catalog's models and ControlNets without loading them."""
        return ModelFamilies(self.settings.catalog, self.catalog)


def connect(settings: Settings, catalog: Catalog) -> Services:
    """The services that ``settings`` name. Nothing is sent yet: servers may still be starting."""
    control = control_redis(settings, max_connections=settings.api_connections)
    loras = Bucket(settings, settings.lora_bucket)
    return Services(
        settings=settings,
        catalog=catalog,
        jobs=JobStore(control, settings),
        celery=make_celery(settings),
        loras=loras,
        lora_headers=LoraHeaderCache(control, loras),
        live_workers=LiveWorkersCache(control),
        images=ImageBucket(settings, control),
        control=control,
        streams=control_redis(settings, max_connections=settings.api_event_streams + STREAM_SPARE),
        offload=find_offload(),
        residuals=residual_servers(settings),
        process=f"api@{socket.gethostname()}-{os.getpid()}",
    )
