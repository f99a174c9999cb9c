"""Every program ends with one sentence where a setting is wrong: real processes."""

import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

from shared.settings import ROOT

WRONG = {"SWIFT_REDIS_URL": "localhost:6379/0"}
SENTENCE = "SWIFT_REDIS_URL: it must begin with its scheme"
#: gunicorn says with its own code that the app cannot be loaded, and does not try again.
CODES = {1, 2, 4}
PROGRAMS = {
    "gunicorn": ["gunicorn", "api.wsgi:app", "--no-control-socket", "--bind=127.0.0.1:0"],
    "UNet worker": ["celery", "-A", "workers.unet.app", "worker"],
    "ControlNet worker": ["celery", "-A", "workers.controlnet.app", "worker"],
    "webhook dispatcher": ["workers.webhooks"],
    "Flower": ["infra.flower"],
    "command line": ["infra.cli", "receipt", "image.png"],
    "local stack": ["infra.local", "up"],
    "benchmarks": ["infra.bench", "transport"],
}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, tuple[int, str]]:
    """Exit code and output of each program; they start together."""
    running: dict[str, subprocess.Popen[str]] = {}
    with ExitStack() as stack:
        for name, words in PROGRAMS.items():
            running[name] = process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env={**os.environ, **WRONG},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)  # if it still runs
        said = {name: process.communicate(timeout=220)[0] for name, process in running.items()}
    return {name: (process.returncode, said[name]) for name, process in running.items()}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_wrong_setting_ends_the_program_with_one_sentence(
    name: str, outcomes: dict[str, tuple[int, str]]
) -> None:
    code, said = outcomes[name]
    assert said.count(SENTENCE) == 1
    assert "Traceback" not in said
    assert code in CODES
