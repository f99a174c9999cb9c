"""An API that strangers could reach says whether it asks for keys, or does not start."""

import subprocess
import sys

import pytest

from api.server.exposure import check_exposure, is_loopback
from shared.errors import InvalidSetting
from shared.settings import ROOT, Settings
from tests.api.gunicorn_server import WORKER_CLASS, environment


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.1", "localhost", "::1", "127.1", "LOCALHOST.", "::ffff:127.0.0.1"]
)
def test_loopback_needs_no_decision(host: str) -> None:
    assert is_loopback(host)
    check_exposure(Settings(), [host])


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "0", "10.0.0.1", "fe80::1%eth0", "api.example.com", "::ffff:0.0.0.0"]
)
def test_other_addresses_need_one(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(InvalidSetting, match="set SWIFT_AUTH=keys, or SWIFT_AUTH=off"):
        check_exposure(Settings(), ["127.0.0.1", host])
    check_exposure(Settings(auth="off"), [host])
    check_exposure(Settings(auth="keys"), [host])


def test_the_server_looks_at_what_it_listens_on_whatever_settings_say(servers: Settings) -> None:
    command = [sys.executable, "-m", "gunicorn", "api.wsgi:app", "--no-control-socket", "--bind=0.0.0.0:0"]
    ended = subprocess.run(
        [*command, "--worker-class", WORKER_CLASS],
        cwd=ROOT,
        env=environment(servers),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 4
    assert "the API is to listen on 0.0.0.0 and asks for no key" in ended.stderr
