"""What the stack consists of: which servers are its own, and the command of every process."""

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from infra.local.devices.assignment import device_environment, worker_devices
from infra.local.servers import (
    HOST,
    redis_command,
    residual_redis_environment,
    weed_command,
    weed_environment,
)
from shared.catalog.catalog import read_catalog
from shared.catalog.entries import NO_CONTROLNETS
from shared.registry.workers import WorkerKind
from shared.setting_checks.addresses import join_port, known_host, parse_redis_url
from shared.settings import Settings
from workers.devices.visible import gpu_number

#: Open event streams are cut when the API stops; everything else has ended long before.
API_GRACE_S = 2

#: Celery's concurrency of a worker.
JOBS_AT_A_TIME: Mapping[WorkerKind, int] = {"unet": 1, "controlnet": 2}
#: glibc gives every short-lived thread a heap of its own, and keeps what LoRAs have left in each of them.
ALLOCATOR = {"MALLOC_ARENA_MAX": "2"}


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process of the stack; a server is stopped after all others."""

    name: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)  # in addition to the stack's own
    port: int | None = None  # of a server that must accept connections before its clients start
    is_server: bool = False
    append_only: Path | None = None  # the folder of a server with append-only files
    shows_plain_output: bool = False  # lines that are no log records are shown, too, such as a traceback
    worker: WorkerKind | None = None  # of a process that reports itself to the fleet
    device: str = ""  # of a worker, as the operator calls it

    @property
    def title(self) -> str:
        """Its name for people: a worker's says where it computes."""
        return f"{self.name} ({self.device})" if self.device else self.name


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """Which servers the stack starts itself: those that no setting names."""

    redis: bool
    residual_redis: bool
    s3: bool


def find_embedded(settings: Settings) -> Embedded:
    """A URL may name an embedded server, in any spelling: a shell that has sourced ``.run/env`` does."""
    given = settings.model_fields_set
    urls, port = settings.residual_redis_url, settings.residual_redis_port
    return Embedded(
        redis="redis_url" not in given or _is_own_redis(settings.redis_url, settings.redis_port),
        residual_redis="residual_redis_url" not in given or (len(urls) == 1 and _is_own_redis(urls[0], port)),
        s3=settings.s3_endpoint_url is None or _is_own_s3(settings.s3_endpoint_url, settings.s3_port),
    )


def _is_own_redis(url: str, port: int) -> bool:
    address = parse_redis_url(url)
    is_plain = address.scheme == "redis" and not address.credentials  # as ours answers
    return is_plain and address.server == (known_host(HOST), port)


def _is_own_s3(url: str, port: int) -> bool:
    parts = urlsplit(url)
    return (parts.scheme, known_host(parts.hostname or ""), parts.port) == ("http", known_host(HOST), port)


def resolve(settings: Settings) -> Settings:
    """The settings with every address filled in, as the processes are to see them."""
    embedded = find_embedded(settings)
    found: dict[str, object] = {"home": settings.home.resolve(), "catalog": settings.catalog.resolve()}
    if embedded.redis:
        found["redis_url"] = _redis_url(settings.redis_port, parse_redis_url(settings.redis_url).db)
    if embedded.residual_redis:
        found["residual_redis_url"] = (_redis_url(settings.residual_redis_port),)
    if embedded.s3:
        found["s3_endpoint_url"] = _s3_url(settings)
    named = {"api_port", "flower_port", "lora_bucket", "image_bucket"}
    return settings.model_copy(update={**{name: getattr(settings, name) for name in named}, **found})


def plan(
    settings: Settings, credentials: Mapping[str, str], visible_gpus: str | None = None
) -> list[Process]:
    """Every process of the stack, servers first. ``settings`` are resolved.

    ``visible_gpus`` is the ``CUDA_VISIBLE_DEVICES`` by which they name devices. Raises `InvalidSetting`.
    """
    threads = str(settings.threads_per_worker)
    cores = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, **ALLOCATOR}
    # ``none`` makes pure UNet workers: it is not meant for ControlNet workers.
    is_none = settings.worker_controlnets == (NO_CONTROLNETS,)
    all_controlnets = {"SWIFT_WORKER_CONTROLNETS": ""} if is_none else {}
    served = {"unet": True, "controlnet": bool(read_catalog(settings.catalog, settings).controlnets)}
    devices_of = {kind: devices for kind, devices in worker_devices(settings).items() if served[kind]}
    sharing = Counter(gpu_number(device) for devices in devices_of.values() for device in devices)
    workers = [
        Process(
            name=f"{kind}{i}",
            command=_worker(f"{kind}{i}", f"workers.{kind}.app", JOBS_AT_A_TIME[kind]),
            environment={
                **cores,
                **(all_controlnets if kind == "controlnet" else {}),
                **device_environment(device, visible_gpus, sharing[gpu_number(device)]),
            },
            worker=kind,
            device=device,
        )
        for kind, devices in devices_of.items()
        for i, device in enumerate(devices, 1)
    ]
    others = [*workers, _webhooks(), _flower(settings, credentials)]
    return [*_servers(settings, credentials), _api(settings), *others]


def _servers(settings: Settings, credentials: Mapping[str, str]) -> list[Process]:
    embedded = find_embedded(settings)
    home = settings.home
    servers = []
    if embedded.redis:
        folder = home / "redis"
        servers.append(
            Process(
                name="redis",
                command=redis_command(settings.redis_port, folder, persistent=True),
                port=settings.redis_port,
                is_server=True,
                append_only=folder,
            )
        )
    if embedded.residual_redis:
        command = redis_command(
            settings.residual_redis_port,
            home / "residual-redis",
            persistent=False,
            max_bytes=settings.residual_redis_bytes,
        )
        servers.append(
            Process(
                name="residual-redis",
                command=command,
                environment=residual_redis_environment(),
                port=settings.residual_redis_port,
                is_server=True,
            )
        )
    if embedded.s3:
        buckets = [settings.lora_bucket, settings.image_bucket]
        command = weed_command(settings.s3_port, home / "s3", buckets)
        environment = weed_environment(credentials["AWS_ACCESS_KEY_ID"], credentials["AWS_SECRET_ACCESS_KEY"])
        servers.append(Process(name="s3", command=command, environment=environment, is_server=True))
    return servers


def folders(home: Path) -> list[Path]:
    """What the processes expect to exist."""
    return [home / name for name in ("redis", "residual-redis", "s3", "logs", "pids")]


def _api(settings: Settings) -> Process:
    options = {
        "--worker-class": "api.server.worker.ApiWorker",
        "--workers": settings.api_processes,
        "--bind": join_port(settings.api_host, settings.api_port),
        "--graceful-timeout": API_GRACE_S,
    }
    words = [str(word) for pair in options.items() for word in pair]
    return Process(name="api", command=[*_python("gunicorn"), "api.wsgi:app", "--no-control-socket", *words])


def _worker(name: str, app: str, concurrency: int) -> list[str]:
    # One process per device: threads, because CUDA does not survive a fork. Gossip and mingle are
    # messages between workers that this fleet does not use.
    options = ["--pool=threads", f"--concurrency={concurrency}", "-E", "--loglevel=INFO"]
    quiet = ["--without-gossip", "--without-mingle"]
    return [*_python("celery"), "-A", app, "worker", "-n", f"{name}@%h", *options, *quiet]


def _webhooks() -> Process:
    return Process(name="webhooks", command=_python("workers.webhooks"), environment=ALLOCATOR)


def _flower(settings: Settings, credentials: Mapping[str, str]) -> Process:
    login = f"{credentials['FLOWER_USER']}:{credentials['FLOWER_PASSWORD']}"
    return Process(
        name="flower",
        command=_python("infra.flower"),
        shows_plain_output=True,
        environment={"FLOWER_BASIC_AUTH": login},  # not on the command line, where everybody reads it
    )


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _redis_url(port: int, db: int = 0) -> str:
    return f"redis://{HOST}:{port}/{db}"


def _s3_url(settings: Settings) -> str:
    return f"http://{HOST}:{settings.s3_port}"
