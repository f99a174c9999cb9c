import json

import pytest

from infra.cli.__main__ import main
from tests.infra.cli.scripted_api import scripted_api

USED = {
    "day": "2026-11-27",
    "tenant": "local",
    "jobs": 3,
    "device_seconds": 12.6,
    "images": 2,
    "image_bytes": 4096,
}
ANSWER = [(200, json.dumps({"usage": [USED]}).encode())]


def test_usage_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted_api({"/v1/usage": ANSWER}) as api:
        assert main(["usage", "--api", api.url]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["2026-11-27", "local", "3", "2", "13", "4096"]


def test_days_and_tenant_are_asked_for_and_json_is_printed_as_it_comes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with scripted_api({"/v1/usage?since=2026-11-01&tenant=acme": ANSWER}) as api:
        words = ["--since", "2026-11-01", "--tenant", "acme", "--json", "--api", api.url]
        assert main(["usage", *words]) == 0
    assert json.loads(capsys.readouterr().out) == [USED]
