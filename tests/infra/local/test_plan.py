"""Which processes a stack has."""

import os
from pathlib import Path

import pytest

from infra.local.environment import make_credentials, make_login
from infra.local.plan import ALLOCATOR, Process, plan, resolve
from infra.local.servers import residual_redis_environment
from shared.settings import Settings

CREDENTIALS = {**make_credentials({}), **make_login({})}


def processes(settings: Settings) -> dict[str, Process]:
    return {process.name: process for process in plan(resolve(settings), CREDENTIALS)}


def test_the_default_stack_is_complete(tmp_path: Path) -> None:
    unets = ["unet1", "unet2"] if len(os.sched_getaffinity(0)) > 1 else ["unet1"]
    names = list(processes(Settings(home=tmp_path)))
    assert names == ["redis", "residual-redis", "s3", "api", *unets, "webhooks", "flower"]


def test_there_are_as_many_workers_as_the_settings_say(tmp_path: Path) -> None:
    found = processes(Settings(home=tmp_path, unet_workers=3, controlnet_workers=2))
    workers = [name for name, process in found.items() if process.worker]
    assert workers == ["unet1", "unet2", "unet3", "controlnet1", "controlnet2"]


def test_a_worker_uses_as_many_threads_as_the_settings_say(tmp_path: Path) -> None:
    found = processes(Settings(home=tmp_path, threads_per_worker=2))
    threads = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    assert found["unet1"].environment == {**threads, **ALLOCATOR, "SWIFT_DEVICE": "cpu"}


def test_each_named_device_has_a_worker_process_that_sees_it_alone(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, unet_devices=("cuda:0", "cuda", "cpu"), controlnet_devices=("cuda:1",))
    found = plan(resolve(settings), CREDENTIALS, "GPU-aa,GPU-bb")
    workers = {process.title: process.environment for process in found if process.worker}
    seen = {title: environment.get("CUDA_VISIBLE_DEVICES") for title, environment in workers.items()}
    assert seen == {
        "unet1 (cuda:0)": "GPU-aa",
        "unet2 (cuda)": "GPU-aa",
        "unet3 (cpu)": None,
        "controlnet1 (cuda:1)": "GPU-bb",
    }
    sharing = {title: environment.get("SWIFT_WORKERS_PER_DEVICE") for title, environment in workers.items()}
    assert list(sharing.values()) == ["2", "2", None, "1"]
    assert [environment["SWIFT_DEVICE"] for environment in workers.values()] == [
        "cuda:0",
        "cuda:0",
        "cpu",
        "cuda:0",
    ]


def test_a_stack_may_have_no_controlnet_worker(tmp_path: Path) -> None:
    assert "controlnet1" not in processes(Settings(home=tmp_path, controlnet_workers=0))


def test_none_makes_pure_unet_workers_beside_controlnet_workers_of_the_whole_catalog(tmp_path: Path) -> None:
    found = processes(Settings(home=tmp_path, worker_controlnets=("none",), controlnet_workers=1))
    assert found["controlnet1"].environment["SWIFT_WORKER_CONTROLNETS"] == ""
    assert "SWIFT_WORKER_CONTROLNETS" not in found["unet1"].environment


def test_a_unet_worker_takes_one_job_at_a_time(tmp_path: Path) -> None:
    assert "--concurrency=1" in processes(Settings(home=tmp_path))["unet1"].command


def test_servers_that_settings_name_are_not_started(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        redis_url="redis://queue.example/0",
        residual_redis_url=("redis://tensors.example/0",),
        s3_endpoint_url="https://s3.example",
    )
    assert [process for process in processes(settings).values() if process.is_server] == []
    assert resolve(settings).redis_url == "redis://queue.example/0"


def test_a_shell_that_has_sourced_run_env_still_starts_the_servers(tmp_path: Path) -> None:
    resolved = resolve(Settings(home=tmp_path, redis_port=7001, s3_port=7100))
    assert list(processes(resolved)) == list(processes(Settings(home=tmp_path)))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST.", "127.1", "[::1]"])
def test_a_url_may_name_an_embedded_server_in_any_spelling(tmp_path: Path, host: str) -> None:
    settings = Settings(
        home=tmp_path,
        redis_url=f"redis://{host}:6390/3",
        residual_redis_url=(f"redis://{host}:6391",),
        s3_endpoint_url=f"http://{host}:8333/",
    )
    servers = [process.name for process in processes(settings).values() if process.is_server]
    assert servers == ["redis", "residual-redis", "s3"]
    assert resolve(settings).redis_url == "redis://127.0.0.1:6390/3"  # where it listens


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379/0",
        "redis://:password@localhost:6390/0",
        "rediss://localhost:6390/0",
        "unix:///run/redis.sock",
        "redis://localhost.example:6390/0",
    ],
)
def test_another_server_on_this_machine_is_not_taken_for_the_embedded_one(tmp_path: Path, url: str) -> None:
    assert "redis" not in processes(Settings(home=tmp_path, redis_url=url))


def test_addresses_follow_the_ports(tmp_path: Path) -> None:
    resolved = resolve(Settings(home=tmp_path, redis_port=7001, residual_redis_port=7002, s3_port=7100))
    assert resolved.redis_url == "redis://127.0.0.1:7001/0"
    assert resolved.residual_redis_url == ("redis://127.0.0.1:7002/0",)
    assert resolved.s3_endpoint_url == "http://127.0.0.1:7100"


def test_no_command_line_shows_a_credential(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, redis_url="redis://:hidden@queue.example/0")
    words = [word for process in processes(settings).values() for word in process.command]
    secrets = ("hidden", CREDENTIALS["AWS_SECRET_ACCESS_KEY"], CREDENTIALS["FLOWER_PASSWORD"])
    assert not any(secret in word for word in words for secret in secrets)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_flower_has_a_login_wherever_it_listens(tmp_path: Path, host: str) -> None:
    environment = processes(Settings(home=tmp_path, flower_host=host))["flower"].environment
    login = f"{CREDENTIALS['FLOWER_USER']}:{CREDENTIALS['FLOWER_PASSWORD']}"
    assert environment == {"FLOWER_BASIC_AUTH": login}


def test_flower_stays_on_loopback_when_the_api_does_not(tmp_path: Path) -> None:
    settings = resolve(Settings(home=tmp_path, api_host="0.0.0.0"))
    assert settings.flower_host == "127.0.0.1"
    assert settings.flower_url == "http://127.0.0.1:5555"


def test_the_residual_redis_keeps_memory_and_the_control_redis_does_not(tmp_path: Path) -> None:
    found = processes(Settings(home=tmp_path))
    assert found["residual-redis"].environment == residual_redis_environment()
    assert found["redis"].environment == {}
