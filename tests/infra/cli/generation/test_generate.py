import base64
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from infra.cli.__main__ import main
from tests.infra.cli.scripted_api import ScriptedApi, job_answers, scripted_api


def generate(api: ScriptedApi, *words: str) -> Any:
    """What the command submits."""
    assert main(["generate", *words, "--api", api.url]) == 0
    return api.requests[0][2]


def test_what_was_given_is_submitted_and_nothing_else(tmp_path: Path) -> None:
    with scripted_api(job_answers()) as api:
        request = generate(api, "a red apple", "--steps", "9", "-n", "2", "-o", str(tmp_path / "apple.png"))
    assert request == {
        "prompt": "a red apple",
        "num_inference_steps": 9,
        "num_images": 2,
        "loras": [],
        "controlnets": [],
    }


def test_priority_and_deadline_are_submitted(tmp_path: Path) -> None:
    with scripted_api(job_answers()) as api:
        words = ["a cat", "--priority", "interactive", "--deadline", "30", "-o", str(tmp_path / "cat.png")]
        request = generate(api, *words)
    assert (request["priority"], request["deadline_s"]) == ("interactive", 30)


@pytest.mark.parametrize(
    ("words", "submitted"),
    [
        (["-o", "cat.png"], {}),
        (["-o", "cat.JPG"], {"output_format": "jpeg"}),
        (["-o", "cat.webp", "--output-quality", "60"], {"output_format": "webp", "output_quality": 60}),
        (["-o", "cat.webp", "--output-format", "jpeg"], {"output_format": "jpeg"}),
        (["-o", "cat"], {}),
    ],
)
def test_the_format_is_the_one_asked_for_or_what_the_file_s_name_says(
    words: list[str], submitted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with scripted_api(job_answers()) as api:
        request = generate(api, "a cat", *words)
    assert {name: value for name, value in request.items() if name.startswith("output")} == submitted


def test_without_a_path_the_file_s_name_ends_with_its_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with scripted_api(job_answers()) as api:
        generate(api, "a cat", "--output-format", "webp")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ab12-0.webp", "ab12-1.webp"]


def test_the_syntax_of_prompts_is_submitted(tmp_path: Path) -> None:
    with scripted_api(job_answers()) as api:
        words = ["a (cat)", "--prompt-syntax", "a1111", "-o", str(tmp_path / "cat.png")]
        request = generate(api, *words)
    assert (request["prompt"], request["prompt_syntax"]) == ("a (cat)", "a1111")


ESTIMATE = {"device_seconds": 2.5, "queue_position": 4, "eta_s": 12.0, "eta_p90_s": 20.0}


@pytest.mark.parametrize(
    ("changes", "printed"),
    [
        ({}, "; half of such jobs are done within 12 s, nine of ten within 20 s\n"),
        ({"eta_s": None, "eta_p90_s": None}, "; no worker serves the model\n"),
    ],
)
def test_a_dry_run_prints_the_estimate_and_submits_no_job(
    changes: dict[str, Any], printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    estimate = json.dumps({**ESTIMATE, **changes}).encode()
    with scripted_api({"/v1/jobs?dry_run=1": [(200, estimate)]}) as api:
        assert generate(api, "a cat", "--dry-run")["prompt"] == "a cat"
        assert capsys.readouterr().out == f"2.5 s of a device, number 4 of the queue{printed}"
        generate(api, "a cat", "--dry-run", "--json")
    assert json.loads(capsys.readouterr().out) == {**ESTIMATE, **changes}
    assert {path for _, path, _ in api.requests} == {"/v1/jobs?dry_run=1"}


def test_loras_and_controlnets_are_pairs(tmp_path: Path) -> None:
    control = tmp_path / "a=b.png"
    control.write_bytes(b"control")
    with scripted_api(job_answers()) as api:
        request = generate(
            api,
            *["a red apple", "--lora", "twemoji", "--lora", "outline=0.5"],
            *["--control", f"edge={control}", "--control-scale", "edge=0.7", "--preprocessor", "edge=canny"],
            *["--control-mode", "edge=2"],
            *["-o", str(tmp_path / "apple.png")],
        )
    assert request["loras"] == [{"name": "twemoji", "scale": 1.0}, {"name": "outline", "scale": 0.5}]
    image = base64.b64encode(b"control").decode()
    assert request["controlnets"] == [
        {
            "name": "edge",
            "image": image,
            "conditioning_scale": 0.7,
            "preprocessor": "canny",
            "control_mode": 2,
        }
    ]


def test_a_controlnet_without_a_file_has_no_image_of_its_own(tmp_path: Path) -> None:
    with scripted_api(job_answers()) as api:
        request = generate(api, "a cat", "--control", "inpaint", "-o", str(tmp_path / "cat.png"))
    assert request["controlnets"] == [{"name": "inpaint"}]


def test_the_paths_are_printed_and_the_progress_is_not_among_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted_api(job_answers(warnings=["the prompt was cut"])) as api:
        generate(api, "a cat", "-o", str(tmp_path / "cat.png"))
    printed = capsys.readouterr()
    assert printed.out.split() == [str(tmp_path / "cat-0.png"), str(tmp_path / "cat-1.png")]
    assert "the prompt was cut" in printed.err


def test_without_a_path_images_are_named_by_their_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with scripted_api(job_answers()) as api:
        generate(api, "a cat", "--json")
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["ab12-0.png", "ab12-1.png"]
    assert json.loads(capsys.readouterr().out)["id"] == "ab12"


def test_a_file_that_cannot_be_written_is_named_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cat-0.png").mkdir()
    with scripted_api(job_answers()) as api:
        assert main(["generate", "a cat", "-o", str(tmp_path / "cat.png"), "--api", api.url]) == 1
    assert f"swiftdiffusion: {tmp_path}/cat-0.png: Is a directory" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_the_command_and_cancels_the_job(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where images would go

    def end(path: str) -> None:
        if path.endswith("/events"):
            os.kill(os.getpid(), number)

    with scripted_api(job_answers(), before=end) as api:
        assert main(["generate", "a cat", "--api", api.url]) == 130
    assert ("POST", "/v1/jobs/ab12/cancel", None) in api.requests
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_job_that_fails_exits_with_1_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    failed = job_answers("failed", error={"code": "invalid_lora", "detail": "no such module"})
    with scripted_api(failed) as api:
        assert main(["generate", "a cat", "--api", api.url]) == 1
    assert "swiftdiffusion: job ab12 failed: invalid_lora: no such module" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "detail"),
    [
        (["--lora", "=1"], "NAME[=SCALE]"),
        (["--lora", "twemoji=strong"], "'strong' is not a valid float"),
        (["--control", "=cat.png"], "NAME[=FILE]"),
        (["--control-scale", "edge"], "NAME=SCALE"),
        (["--control", "edge=gone.png"], "'gone.png' does not exist"),
        (["--control-scale", "edge=1"], "no --control names edge"),
        (["--control-mode", "edge=2"], "no --control names edge"),
        (["--control-mode", "edge=x"], "'x' is not a valid integer"),
        (["--strength", "2"], "0<=x<=1"),
        (["--priority", "urgent"], "'interactive', 'normal', 'batch'"),
        (["--deadline", "0"], "x>0"),
        (["-o", ""], "'' names no file"),
    ],
)
def test_a_wrong_option_is_explained_and_exits_with_2(
    words: list[str], detail: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "a cat", "--api", "http://127.0.0.1:9", *words]) == 2
    assert detail in capsys.readouterr().err


def test_the_fleet_of_this_folder_is_found_by_its_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFT_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with scripted_api(job_answers()) as api:
        (tmp_path / "env").write_text(f"API_URL={api.url}\n")
        assert main(["generate", "a cat"]) == 0
    assert api.requests[0][1] == "/v1/jobs"
