"""The Gantt plot of a job."""

from pathlib import Path
from typing import Any

from PIL import Image

from infra.local.timeline import by_lane, describe, plot_timeline, side_by_side


def span(name: str, start_s: float, end_s: float, worker: str = "unet1@a") -> dict[str, Any]:
    return {
        "name": name,
        "start_s": start_s,
        "end_s": end_s,
        "worker": worker,
        "counts": {},
        "residual": None,
    }


JOB = {
    "id": "0123456789abcdef",
    "status": "succeeded",
    "timeline": [
        span("queued", 0, 0.1, "queue"),
        *[span("encoder", i, i + 0.4) for i in range(1, 26)],
        *[span("decoder", i + 0.4, i + 0.9) for i in range(1, 26)],
        *[span("controlnet edge", i, i + 0.5, "controlnet1@b") for i in range(1, 26)],
        span("lora twemoji fetch", 0.1, 3),
        span("lora outline fetch", 0.1, 2),
    ],
}


def test_a_plot_is_a_readable_png(tmp_path: Path) -> None:
    plot_timeline(JOB, tmp_path / "timeline.png")
    with Image.open(tmp_path / "timeline.png") as image:
        assert image.format == "PNG"
        assert image.width == 1600
        assert 250 < image.height < 1200


def test_a_legend_of_long_names_is_not_cut_off(tmp_path: Path) -> None:
    spans = [span(f"lora watercolour-landscapes-{i} prepare", i, i + 0.5) for i in range(16)]
    plot_timeline({**JOB, "timeline": spans}, tmp_path / "timeline.png")
    with Image.open(tmp_path / "timeline.png") as image:
        grey = image.convert("L")
        edges = [grey.crop((x, 0, x + 1, grey.height)) for x in (0, grey.width - 1)]
    assert [edge.getextrema() for edge in edges] == [(255, 255)] * 2


def test_a_job_without_a_timeline_has_a_plot_too(tmp_path: Path) -> None:
    plot_timeline({**JOB, "status": "cancelled", "timeline": []}, tmp_path / "timeline.png")
    assert (tmp_path / "timeline.png").stat().st_size > 0


def test_the_legend_tells_what_was_counted() -> None:
    fetch = span("lora anime from s3", 0, 1) | {"counts": {"fetched_bytes": 3_224_408, "evictions": 1}}
    assert (
        describe("lora anime from s3", [fetch]) == "lora anime from s3 (fetched bytes 3,224,408, evictions 1)"
    )
    assert describe("encoder", [fetch, span("encoder", 0, 1)]) == "encoder"


def test_the_legend_tells_which_residuals_were_waited_for() -> None:
    waits = [span("wait for residuals", i, i + 0.1) | {"residual": i % 3} for i in range(4)]
    assert describe(waits[0]["name"], waits[:1]) == "wait for residuals (first of a step 1)"
    assert describe(waits[0]["name"], waits) == "wait for residuals (first of a step 2, later ones 2)"


def test_loading_has_a_lane_beside_its_worker() -> None:
    assert list(by_lane(JOB["timeline"])) == ["queue", "unet1@a", "unet1@a loads", "controlnet1@b"]


def test_spans_at_one_time_get_rows_of_their_own() -> None:
    rows = side_by_side(by_lane(JOB["timeline"])["unet1@a loads"])
    assert [len(row) for row in rows] == [1, 1]


def test_spans_one_after_the_other_share_a_row() -> None:
    assert len(side_by_side(by_lane(JOB["timeline"])["unet1@a"])) == 1
