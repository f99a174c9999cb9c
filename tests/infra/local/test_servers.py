"""The embedded S3 server under attack: only signed S3 requests may read or change anything."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from infra.bench.harness.ports import free_s3_port
from infra.local.checks import GRPC_OFFSET, S3_PORTS
from infra.local.servers import running_process, wait_for_s3, weed_command, weed_environment
from shared.settings import Settings
from shared.storage.object_store import Bucket
from tests.conftest import READY_S

#: Parts of the server, by the port that each takes after that of S3.
S3, MASTER, VOLUME, FILER, ADMIN = range(S3_PORTS)
LARGE = bytes(range(256)) * 20_000
EVIL, CONTENT = b"not a LoRA", b"weights of a LoRA"
ORIGINS = ({}, {"Origin": "https://evil.example"}, {"Host": "evil.example"})

WRITES = [
    (FILER, "POST", "/buckets/{bucket}/evil.safetensors"),
    (FILER, "PUT", "/buckets/{bucket}/evil.safetensors"),
    (FILER, "DELETE", "/buckets/{bucket}/kept"),
    (FILER, "DELETE", "/buckets/{bucket}?recursive=true"),
    (FILER, "POST", "/buckets/{bucket}/kept?mv.from=/buckets/{bucket}/other"),
    (FILER, "POST", "/.tus/buckets/{bucket}/evil.safetensors"),
    (MASTER, "POST", "/submit"),
    (MASTER, "GET", "/dir/assign"),
    (MASTER, "GET", "/vol/grow?count=1&collection=evil"),
    (MASTER, "GET", "/vol/vacuum?garbageThreshold=0"),
    (MASTER, "GET", "/col/delete?collection={bucket}"),
    (VOLUME, "POST", "/1,01637037d6"),
    (VOLUME, "DELETE", "/1,01637037d6"),
    (ADMIN, "POST", "/api/s3/buckets"),
    (ADMIN, "DELETE", "/api/s3/buckets/{bucket}"),
    (S3, "PUT", "/{bucket}/evil.safetensors"),
    (S3, "POST", "/{bucket}"),
    (S3, "DELETE", "/{bucket}/kept"),
    (S3, "DELETE", "/{bucket}"),
    (S3, "POST", "/?Action=CreateUser&UserName=evil"),
]
READS = [
    (FILER, "/buckets/{bucket}/"),
    (FILER, "/buckets/{bucket}/kept"),
    (FILER, "/?proxyChunkId=1,01637037d6"),
    (MASTER, "/dir/status"),
    (MASTER, "/dir/lookup?volumeId=1"),
    (MASTER, "/vol/status"),
    (VOLUME, "/1,01637037d6"),
    (VOLUME, "/ui/index.html"),
    (ADMIN, "/api/cluster/topology"),
    (S3, "/"),
    (S3, "/{bucket}"),
    (S3, "/{bucket}/kept"),
]


@pytest.fixture
def kept(servers: Settings) -> Iterator[Bucket]:
    bucket = Bucket(servers, servers.lora_bucket)
    bucket.put("kept", CONTENT, content_type="text/plain")
    yield bucket
    bucket.delete("kept")


def ask(settings: Settings, part: int, method: str, path: str, **headers: str) -> requests.Response:
    url = f"http://127.0.0.1:{settings.s3_port + part}{path.format(bucket=settings.lora_bucket)}"
    files = {"file": ("evil.safetensors", EVIL)} if method in ("POST", "PUT") else None
    return requests.request(method, url, files=files, headers=headers, timeout=10)


def assert_refused(part: int, answer: requests.Response) -> None:
    if part == VOLUME:
        assert answer.status_code == 401, answer.text  # also for what it does not have
    assert answer.status_code >= 400, answer.text


@pytest.mark.parametrize(("part", "method", "path"), WRITES)
def test_no_part_of_the_s3_server_takes_an_unsigned_change(
    servers: Settings, kept: Bucket, part: int, method: str, path: str
) -> None:
    for headers in ORIGINS:
        assert_refused(part, ask(servers, part, method, path, **headers))
    assert kept.get("kept") == CONTENT
    assert not kept.exists("evil.safetensors")


@pytest.mark.parametrize(("part", "path"), READS)
def test_no_part_of_the_s3_server_shows_an_object_unasked(
    servers: Settings, kept: Bucket, part: int, path: str
) -> None:
    for headers in ORIGINS:
        answer = ask(servers, part, "GET", path, **headers)
        assert_refused(part, answer)
        assert CONTENT not in answer.content


@pytest.mark.parametrize("part", range(S3_PORTS))
def test_a_page_cannot_speak_to_the_grpc_ports(servers: Settings, part: int) -> None:
    # Given a browser's HTTP/1.1: gRPC on a port without TLS needs HTTP/2 at once
    url = f"http://127.0.0.1:{servers.s3_port + part + GRPC_OFFSET}/filer_pb.SeaweedFiler/DeleteEntry"
    # Then nothing but the greeting of HTTP/2 comes back, which is no answer
    with pytest.raises(requests.ConnectionError):
        requests.post(url, data=EVIL, timeout=10)


def test_objects_outlive_a_kill_and_new_signing_keys(servers: Settings, tmp_path: Path) -> None:
    # Given credentials in the environment, by `servers`, and an S3 server of its own
    port = free_s3_port()
    settings = Settings(s3_endpoint_url=f"http://127.0.0.1:{port}")
    for attempt in range(2):
        environment = {**os.environ, **weed_environment("test-access", "test-secret-key")}
        command = weed_command(port, tmp_path, [settings.lora_bucket, settings.image_bucket])
        with running_process(command, cwd=tmp_path, env=environment, log=tmp_path / "log") as server:
            wait_for_s3(settings, READY_S)
            bucket = Bucket(settings, settings.lora_bucket)
            bucket.put(f"large-{attempt}", LARGE, content_type="text/plain")
            assert all(bucket.get(f"large-{i}") == LARGE for i in range(attempt + 1))
            server.kill()
