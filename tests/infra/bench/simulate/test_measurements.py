import json
from pathlib import Path

import pytest

from infra.bench.simulate.measurements import H800, TIMED, read_measurements
from infra.bench.timed import device
from infra.bench.timed.times import LORA_LOAD_S


@pytest.mark.parametrize("path", [H800, TIMED])
def test_every_value_says_where_it_was_measured(path: Path) -> None:
    assert read_measurements(path).unet_s > 0


def test_a_job_alone_takes_what_the_paper_measured_with_diffusers() -> None:
    measured = read_measurements(H800)
    table_s = {
        (0, 0): 2.88,
        (0, 1): 6.03,
        (1, 0): 4.26,
        (1, 1): 7.17,
        (2, 2): 13.14,
        (3, 0): 7.09,
        (3, 2): 14.44,
    }
    for (controlnets, loras), seconds in table_s.items():
        assert measured.alone_s(50, controlnets, loras) == pytest.approx(seconds, rel=0.04)


def test_what_timed_devices_sleep_is_what_is_simulated_for_them() -> None:
    measured = read_measurements(TIMED)
    slept = {
        "unet_s": device.UNET_S,
        "encoder_share": device.ENCODER_SHARE,
        "controlnet_s": device.CONTROLNET_S,
        "one_branch_share": device.ONE_BRANCH_SHARE,
        "text_s": device.TEXT_S,
        "vae_s": device.VAE_S,
        "lora_prepare_s": LORA_LOAD_S,
        "lora_patch_s": device.LORA_PATCH_S,
    }
    assert {name: getattr(measured, name) for name in slept} == pytest.approx(slept)


def test_a_value_without_a_source_or_of_no_meaning_is_refused(tmp_path: Path) -> None:
    written = json.loads(H800.read_text())
    written["values"]["vae_s"]["from"] = ""
    (tmp_path / "one.json").write_text(json.dumps(written))
    with pytest.raises(ValueError, match="where do these come from: vae_s"):
        read_measurements(tmp_path / "one.json")
    del written["values"]["vae_s"]
    written["values"]["warp_s"] = {"value": 1, "from": "nowhere"}
    (tmp_path / "two.json").write_text(json.dumps(written))
    with pytest.raises(ValueError, match="missing or unknown: vae_s, warp_s"):
        read_measurements(tmp_path / "two.json")


def test_stretched_devices_take_longer_for_what_they_sleep_alone() -> None:
    measured = read_measurements(TIMED)
    stretched = measured.stretched(3.0)
    assert stretched.unet_s == pytest.approx(3 * measured.unet_s)
    assert stretched.alone_s(50, 2, 2) == pytest.approx(3 * measured.alone_s(50, 2, 2))
    assert stretched.step_s == measured.step_s
    assert measured.stretched(1.0, 5.0).alone_s(10, 2, 2) == pytest.approx(measured.alone_s(50, 2, 2))
