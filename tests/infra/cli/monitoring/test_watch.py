import json

import pytest

from infra.cli.__main__ import main
from tests.infra.cli.scripted_api import events, scripted_api

SCRIPT = events(
    ("status", {"job": "a", "status": "running"}),
    ("progress", {"job": "a", "step": 3, "total": 6}),
    ("done", {"job": "a", "status": "succeeded"}),
    ("reset", {"detail": "events are missing here"}),
    ("done", {"job": "b", "status": "failed"}),
)


def test_jobs_are_watched_until_all_have_ended(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted_api({"/v1/events?job=a&job=b": [(200, SCRIPT)]}) as api:
        assert main(["watch", "a", "b", "--api", api.url]) == 1  # one of them has failed
    shown = capsys.readouterr().err
    assert "a succeeded" in shown
    assert "b failed" in shown


def test_events_are_printed_as_lines_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted_api({"/v1/events?job=a": [(200, SCRIPT)]}) as api:
        assert main(["watch", "a", "--json", "--api", api.url]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == {"event": "progress", "job": "a", "step": 3, "total": 6}
    assert [line["event"] for line in lines] == ["status", "progress", "done"]
