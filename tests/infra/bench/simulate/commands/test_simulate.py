"""Both commands, as they are called."""

from pathlib import Path

import pytest

from infra.bench.__main__ import main

SHORT = ["--minutes", "3", "--warm-up-minutes", "0.5"]


def test_simulate_prints_a_row_for_each_policy_and_rate_and_plots_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plot = tmp_path / "plot.png"
    words = ["--devices", "4", "--rate", "0.2,0.5", "--policy", "elastic,fixed,plain", "--plot", str(plot)]
    assert main(["simulate", *words, *SHORT]) == 0
    printed = capsys.readouterr().out
    for policy in ("elastic", "fixed", "plain"):
        assert printed.count(f"| {policy} | 0.2 |") == printed.count(f"| {policy} | 0.5 |") == 1
    assert "times from sdxl_h800.json" in printed
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_plan_answers_in_a_sentence_and_says_what_it_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--rate", "0.3", "--p99", "15", *SHORT]) == 0
    printed = capsys.readouterr().out
    assert "For 0.3 jobs a second and 99 % of them within 15 s, " in printed
    assert "Assumed:\n- times and sizes of sdxl_h800.json" in printed


def test_plan_fails_where_no_fleet_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--rate", "0.3", "--p99", "1", "--most", "4", *SHORT]) == 1
    assert "4 devices are not enough" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["simulate", "--devices", "4", "--rate", "1", "--policy", "warp"], "unknown: warp"),
        (["simulate", "--devices", "4", "--rate", "1", "--memory-gb", "8"], "8 GB of memory"),
        (["simulate", "--devices", "4", "--rate", "0"], "0.0 jobs a second"),
        (["plan", "--rate", "1", "--p99", "9", "--warm-up-minutes", "30"], "1800.0 s to warm up"),
    ],
)
def test_what_cannot_be_simulated_is_refused_with_a_reason(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert why in capsys.readouterr().err


def test_variants_with_and_without_placement_get_the_same_traffic(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--devices", "3", "--rate", "0.3", "--seeds", "2", "--steps-at-a-time", "5"]
    assert main(["variants", *words, *SHORT]) == 0
    printed = capsys.readouterr().out
    for name in ("placement", "no placement"):
        assert f"| {name} |" in printed


def test_the_goodput_of_each_policy_is_searched(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--devices", "2", "--rate", "0.2", "--policy", "elastic,plain", "--goodput"]
    assert main(["simulate", *words, "--steps-at-a-time", "10", *SHORT]) == 0
    head, _, elastic, plain = capsys.readouterr().out.strip().splitlines()
    assert head.count("goodput within") == 3
    assert float(elastic.split("|")[3]) > float(plain.split("|")[3])
