import pytest

from infra.bench.parts.family.step_megabytes import CONTROLNETS, step_megabytes

#: Counted by hand: residuals x tokens x width x 2 bytes, and twice that where guidance is one batch. Those of
#: Z-Image have tokens of the caption, too.
EXPECTED = {"sdxl": 107, "flux_5_10": 377, "flux_6_0": 126, "sd35_large_19": 2 * 379, "qwen_image_5": 126}


def test_a_step_has_the_bytes_that_the_architecture_says() -> None:
    found = step_megabytes()
    assert found.keys() == CONTROLNETS.keys()
    assert {name: found[name] for name in EXPECTED} == {
        name: pytest.approx(megabytes, abs=1) for name, megabytes in EXPECTED.items()
    }
    assert found["z_image_15"] == pytest.approx(5 * found["z_image_3"])
