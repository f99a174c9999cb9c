"""Flower as the fleet runs it, over HTTP: who may use it, and what it knows without a request."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests

from infra.bench.harness.ports import free_ports
from infra.local.environment import inherit, variables_of
from shared.redis_clients import control_redis
from shared.settings import ROOT, Settings
from shared.tenants.api_key import ApiKey
from shared.tenants.key_store import KeyStore, StoredKey
from tests.infra.local.waiting import eventually

ANSWER_S = 60.0
LOGIN = ("swift", "a-password")
SHUTDOWN = "/api/worker/shutdown/unet1@a"
ADMINS_KEY = str(ApiKey.random())


@pytest.fixture(scope="module")
def url(servers: Settings) -> Iterator[str]:
    own = {"SWIFT_ALLOWED_HOSTS": ".example.com,10.0.0.0/8", "FLOWER_BASIC_AUTH": ":".join(LOGIN)}
    yield from running_flower(servers, own)


@pytest.fixture(scope="module")
def keyed_url(servers: Settings) -> Iterator[str]:
    """A Flower beside an API that asks for keys, without a login of its own."""
    yield from running_flower(servers, {"SWIFT_AUTH": "keys", "SWIFT_BOOTSTRAP_KEY": ADMINS_KEY})


@pytest.fixture(scope="module")
def oauth_url(servers: Settings) -> Iterator[str]:
    """A Flower beside an API that asks for keys, whose users log in elsewhere."""
    own = {
        "SWIFT_AUTH": "keys",
        "SWIFT_BOOTSTRAP_KEY": ADMINS_KEY,
        "FLOWER_AUTH": "operator@example.com",
        "FLOWER_AUTH_PROVIDER": "flower.views.auth.GithubLoginHandler",
        "FLOWER_OAUTH2_KEY": "id",
        "FLOWER_OAUTH2_SECRET": "secret",
        "FLOWER_OAUTH2_REDIRECT_URI": "http://localhost/login",
        "FLOWER_COOKIE_SECRET": "c" * 32,
    }
    yield from running_flower(servers, own)


def running_flower(servers: Settings, own: dict[str, str]) -> Iterator[str]:
    port = free_ports(1)[0]
    environment = inherit({**variables_of(servers), **own, "SWIFT_FLOWER_PORT": str(port)})
    process = subprocess.Popen([sys.executable, "-m", "infra.flower"], cwd=ROOT, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: answers(url), timeout_s=120)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthcheck", timeout=ANSWER_S).ok
    except requests.ConnectionError:
        return False


@pytest.mark.parametrize("auth", [None, ("swift", ""), ("swift", "wrong"), ("", "a-password")])
def test_nothing_is_shown_or_done_without_the_login(url: str, auth: tuple[str, str] | None) -> None:
    for path in ("/", "/workers", "/broker", "/tasks", "/api/workers", "/api/tasks", "/api/queues/length"):
        assert requests.get(url + path, auth=auth, timeout=ANSWER_S).status_code == 401
    for path in (SHUTDOWN, "/api/task/send-task/unet.generate", "/api/worker/queue/cancel-consumer/unet1@a"):
        assert requests.post(url + path, auth=auth, timeout=ANSWER_S).status_code == 401


def test_beside_an_api_with_keys_an_admins_key_is_the_login(keyed_url: str, servers: Settings) -> None:
    made = ApiKey.random()
    key = StoredKey(id=made.id, tenant="local", scopes=("jobs", "fleet"), sha256=made.sha256, created_at=1.0)
    KeyStore(control_redis(servers)).add(key)
    logins = {ADMINS_KEY: 200, str(made): 403, str(ApiKey.random()): 401, "": 401, "password": 401}
    for path in ("/workers", "/api/workers", "/metrics"):
        statuses = {
            key: requests.get(keyed_url + path, auth=("any", key), timeout=ANSWER_S).status_code
            for key in logins
        }
        assert statuses == logins, path
        assert requests.get(keyed_url + path, timeout=ANSWER_S).status_code == 401
    refused = requests.get(keyed_url, timeout=ANSWER_S)
    assert refused.headers["WWW-Authenticate"] == 'Basic realm="flower"'
    bearer = {"Authorization": f"Bearer {ADMINS_KEY}"}
    assert requests.get(f"{keyed_url}/api/workers", headers=bearer, timeout=ANSWER_S).status_code == 200


def test_where_people_log_in_elsewhere_an_admins_key_shows_the_metrics_alone(oauth_url: str) -> None:
    for auth in (None, ("any", ADMINS_KEY), ("any", "wrong")):
        for path in ("/workers", "/api/workers"):
            answer = requests.get(oauth_url + path, auth=auth, timeout=ANSWER_S, allow_redirects=False)
            assert (answer.status_code, answer.headers.get("Location", "/login")[:6]) in (
                (302, "/login"),
                (401, "/login"),
            )
        assert requests.post(oauth_url + SHUTDOWN, auth=auth, timeout=ANSWER_S).status_code in (401, 403)
    statuses = [
        requests.get(f"{oauth_url}/metrics", auth=auth, timeout=ANSWER_S).status_code
        for auth in (None, ("any", "wrong"), ("any", ADMINS_KEY))
    ]
    assert statuses == [401, 401, 200]


def test_a_page_of_another_origin_cannot_use_an_admins_key_either(keyed_url: str) -> None:
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    auth = ("any", ADMINS_KEY)
    assert (
        requests.post(keyed_url + SHUTDOWN, auth=auth, headers=headers, timeout=ANSWER_S).status_code == 403
    )
    assert requests.post(keyed_url + SHUTDOWN, auth=auth, timeout=ANSWER_S).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_a_page_of_another_origin_cannot_use_the_login_a_browser_remembers(
    url: str, headers: dict[str, str]
) -> None:
    assert requests.post(url + SHUTDOWN, auth=LOGIN, headers=headers, timeout=ANSWER_S).status_code == 403


@pytest.mark.parametrize("host", ["", "localhost.evil.example", "evilexample.com", "11.1.2.3", "[::2]"])
def test_a_name_that_looks_like_one_of_its_own_is_refused(url: str, host: str) -> None:
    answer = requests.get(f"{url}/api/workers", auth=LOGIN, headers={"Host": host}, timeout=ANSWER_S)
    assert answer.status_code == 403


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthcheck", "/api/workers", "/static/css/flower.css"])
def test_another_host_name_is_refused_everywhere(url: str, path: str) -> None:
    headers = {"Host": "evil.example:80"}
    assert requests.get(url + path, auth=LOGIN, headers=headers, timeout=ANSWER_S).status_code == 403


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:5555",
        "a.localhost",
        "127.0.0.1",
        "127.0.0.2",
        "[::1]:5555",
        "flower.example.com",
        "10.1.2.3:5555",
    ],
)
def test_names_of_this_machine_and_those_that_are_listed_are_its_own(url: str, host: str) -> None:
    answer = requests.post(url + SHUTDOWN, auth=LOGIN, headers={"Host": host}, timeout=ANSWER_S)
    assert answer.status_code == 404  # there is no such worker


def test_the_broker_page_lists_our_queues(url: str) -> None:
    page = requests.get(f"{url}/broker", auth=LOGIN, timeout=ANSWER_S).text
    assert all(name in page for name in ("unet.emoji-sd", "controlnet.edge", "controlnet.colour"))


def test_a_worker_that_starts_later_is_listed_with_its_queues(url: str, servers: Settings) -> None:
    # Given a Flower that was there first, and a worker of the same broker
    worker = subprocess.Popen([sys.executable, "-c", WORKER], cwd=ROOT, env=inherit(variables_of(servers)))
    try:
        # Then Flower shows it without a page being opened
        def queues() -> list[str]:
            workers = requests.get(f"{url}/api/workers", auth=LOGIN, timeout=ANSWER_S).json()
            found = workers.get("late@here", {}).get("active_queues", [])
            return [queue["name"] for queue in found]

        assert eventually(queues, timeout_s=120) == ["unet.late"]
    finally:
        worker.kill()
        worker.wait()


WORKER = """
from shared.messaging.celery_app import make_celery
from shared.settings import read_settings
app = make_celery(read_settings(), ["unet.late"])
app.worker_main(["worker", "--pool=threads", "--concurrency=1", "-E", "-n", "late@here", "--without-mingle"])
"""


def test_without_a_login_it_does_not_start(servers: Settings) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "infra.flower"],
        cwd=ROOT,
        env=inherit({**variables_of(servers), "FLOWER_UNAUTHENTICATED_API": "true"}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 1
    assert "FLOWER_BASIC_AUTH=user:password is needed" in ended.stderr
