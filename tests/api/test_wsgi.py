"""The web as it is really run: gunicorn, threads, sockets."""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from api.loras.publisher import UPLOADS
from shared.redis_clients import control_redis
from shared.settings import ROOT, Settings
from shared.storage.lora_names import STAGED
from shared.storage.object_store import PART_BYTES, Bucket
from tests.api.gunicorn_server import WAIT_S, call, environment, open_stream, serving
from tests.api.services import base64_of, image_file, safetensors
from tests.unique_names import unique

MAX_RSS_BYTES = 120 << 20
EVENT_STREAMS = 2


@pytest.fixture(scope="module")
def environ(servers: Settings) -> Mapping[str, str]:
    control_redis(servers).flushdb()  # heartbeats of tests before would pass for workers
    return {
        **environment(servers),
        "SWIFT_API_EVENT_STREAMS": str(EVENT_STREAMS),
        "SWIFT_MAX_LORA_BYTES": str(64 << 20),
        "SWIFT_HEARTBEAT_S": "0.2",
    }


@pytest.fixture(scope="module")
def server(environ: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """Port and process id of a running API."""
    with serving(environ) as found:
        yield found


@pytest.fixture(scope="module")
def strict_api(environ: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """Another, which waits for bodies for two seconds."""
    with serving({**environ, "SWIFT_BODY_TIMEOUT_S": "2"}) as found:
        yield found


def test_the_web_never_loads_torch(environ: Mapping[str, str]) -> None:
    script = (
        "import sys, api.wsgi;"
        "print(*({'torch', 'numpy', 'diffusers', 'transformers', 'peft'} & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_S,
    )
    assert told.stdout.strip() == ""


@pytest.mark.parametrize(
    ("setting", "value"), [("SWIFT_MAX_STEPS", "many"), ("SWIFT_OPENAI_MODELS", "dall-e-3=nothing")]
)
def test_a_bad_setting_stops_the_start_and_names_itself(
    setting: str, value: str, environ: Mapping[str, str]
) -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import api.wsgi"],
        cwd=ROOT,
        env={**environ, setting: value},
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert told.returncode != 0
    assert told.stderr.startswith(setting)
    assert "Traceback" not in told.stderr


def test_a_job_goes_in_over_a_real_socket(server: tuple[int, int]) -> None:
    answer, body = call(server[0], "POST", "/v1/jobs", {"prompt": "a cat"})
    assert answer.status == 202
    path = answer.headers["Location"]
    assert json.loads(call(server[0], "GET", path)[1])["id"] == json.loads(body)["id"]
    answer, body = call(server[0], "GET", "/readyz")  # every server is there, and no worker
    assert (answer.status, json.loads(body)["checks"]["lora_bucket"]) == (503, "ok")


def test_an_upload_over_the_limit_is_answered_though_it_is_not_read(server: tuple[int, int]) -> None:
    body = bytes(65 << 20)
    with socket.create_connection(("127.0.0.1", server[0]), timeout=WAIT_S) as client:
        head = f"PUT /v1/loras/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode())
        assert client.recv(65536).startswith(b"HTTP/1.1 413")


def test_an_upload_that_breaks_off_is_not_stored(server: tuple[int, int]) -> None:
    with socket.create_connection(("127.0.0.1", server[0]), timeout=WAIT_S) as client:
        client.sendall(b"PUT /v1/loras/half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(65536).startswith(b"HTTP/1.1 4")
    assert call(server[0], "GET", "/v1/loras/half")[0].status == 404


def test_uploads_that_stall_are_ended_and_leave_neither_slot_nor_parts(
    strict_api: tuple[int, int], servers: Settings
) -> None:
    # Given clients in every slot that stop in the middle, one after the first part is in S3
    data = safetensors({"unet.x.lora_A.weight": [3, 1 << 20]})
    head = (
        f"PUT /v1/loras/stalled HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    )
    clients = [socket.create_connection(("127.0.0.1", strict_api[0]), timeout=WAIT_S) for _ in range(UPLOADS)]
    for client, sent in zip(clients, [2 * PART_BYTES, 1000, 4] + [0] * (UPLOADS - 3), strict=True):
        client.sendall(head + data[:sent])
    # Then they are told so
    for client in clients:
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["code"]) == (408, "request_timeout")
        client.close()
    # And others take their place
    for name in ("one", "two", "three", "four"):
        assert call(strict_api[0], "PUT", f"/v1/loras/{unique(name)}", data)[0].status == 201
    bucket = Bucket(servers, servers.lora_bucket)
    assert not bucket.exists("stalled.safetensors")
    staged = f"{STAGED}stalled.safetensors/"
    assert list(bucket.list(staged)) == []
    assert "Uploads" not in bucket.client.list_multipart_uploads(Bucket=bucket.name, Prefix=staged)


def test_a_job_that_stalls_is_ended_too(strict_api: tuple[int, int]) -> None:
    with socket.create_connection(("127.0.0.1", strict_api[0]), timeout=WAIT_S) as client:
        head = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n"
        head += "Content-Type: application/json\r\n\r\n"
        client.sendall(head.encode() + b'{"prompt": ')
        assert client.recv(65536).startswith(b"HTTP/1.1 408")


def test_an_upload_of_many_parts_is_never_held_in_memory(server: tuple[int, int], servers: Settings) -> None:
    (worker,) = psutil.Process(server[1]).children()
    before = worker.memory_info().rss
    data, name = safetensors({"unet.x.lora_A.weight": [15, 1 << 20]}), unique("large")
    assert len(data) > 6 * PART_BYTES
    assert call(server[0], "PUT", f"/v1/loras/{name}", data)[0].status == 201
    assert worker.memory_info().rss - before < 0.75 * len(data)
    assert json.loads(call(server[0], "GET", f"/v1/loras/{name}")[1])["size_bytes"] == len(data)
    assert Bucket(servers, servers.lora_bucket).head(f"{name}.safetensors").size_bytes == len(data)


def test_the_memory_of_many_uploads_at_once_is_given_back(server: tuple[int, int]) -> None:
    (worker,) = psutil.Process(server[1]).children()
    data = safetensors({"unet.x.lora_A.weight": [4, 1 << 20]})
    assert call(server[0], "PUT", f"/v1/loras/{unique('first')}", data)[0].status == 201
    before = worker.memory_info().rss
    with ThreadPoolExecutor(8) as clients:
        names = [f"/v1/loras/{unique('many')}" for _ in range(8)]
        answers = clients.map(lambda name: call(server[0], "PUT", name, data)[0].status, names)
        assert list(answers) == [201] * 8
    # Each has held a part and what came after it
    assert worker.memory_info().rss - before < 2 * PART_BYTES


def test_a_client_that_goes_away_gives_its_event_stream_back(server: tuple[int, int]) -> None:
    # Given a process whose event streams are all taken
    job_id = json.loads(call(server[0], "POST", "/v1/jobs", {"prompt": "a cat"})[1])["id"]
    clients = [open_stream(server[0], job_id)[0] for _ in range(EVENT_STREAMS)]
    late, told = open_stream(server[0], job_id)
    late.close()
    assert told.startswith(b"HTTP/1.1 503")
    assert b"Retry-After" in told
    # When their clients go away, though nothing happens to the job
    for client in clients:
        client.close()
    # Then others take their place
    deadline = time.monotonic() + 60
    while not told.startswith(b"HTTP/1.1 200"):
        assert time.monotonic() < deadline, "the streams are not given back"
        late, told = open_stream(server[0], job_id)
        late.close()


def test_the_first_control_maps_of_a_process_may_be_asked_for_at_once(strict_api: tuple[int, int]) -> None:
    # They load OpenCV, in threads beside the loop of greenlets.
    body = {"image": base64_of(image_file((512, 512))), "preprocessor": "canny"}
    with ThreadPoolExecutor(8) as clients:
        path = "/v1/controlnets/preprocess"
        answers = list(clients.map(lambda _: call(strict_api[0], "POST", path, body), range(8)))
    assert [answer.status for answer, _ in answers] == [200] * 8
    assert len({png for _, png in answers}) == 1


def test_the_process_stays_small(server: tuple[int, int]) -> None:
    for _ in range(50):
        call(server[0], "POST", "/v1/jobs", {"prompt": "a cat"})
        call(server[0], "GET", "/v1/loras")
    (worker,) = psutil.Process(server[1]).children()
    assert worker.memory_info().rss < MAX_RSS_BYTES


def test_a_process_publishes_its_metrics_by_itself(server: tuple[int, int]) -> None:
    text = call(server[0], "GET", "/metrics")[1].decode()
    assert 'swift_http_requests_total{method="POST",process="api@' in text
