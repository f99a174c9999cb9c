import pytest

from infra.bench.parts.latency.critical_path import Parts
from infra.bench.parts.soak.soak_controlnets import _growth
from infra.bench.workloads.addon_jobs import loop_s


def test_a_loop_lasts_from_its_first_encoder_to_the_decoding_of_the_image() -> None:
    spans = [("prompt", 0.0, 1.0), ("encoder", 1.5, 2.0), ("encoder", 3.0, 3.5), ("vae", 4.5, 5.0)]
    timeline = [{"name": name, "start_s": start, "end_s": end} for name, start, end in spans]
    assert loop_s({"timeline": timeline}) == 3.0


def test_a_step_is_no_shorter_than_its_longer_first_half_and_the_decoder() -> None:
    assert Parts(encoder_s=0.5, controlnet_s=0.6, decoder_s=1.0).path_s == pytest.approx(1.6)
    assert Parts(encoder_s=0.7, controlnet_s=0.6, decoder_s=1.0).path_s == pytest.approx(1.7)


def test_growth_is_the_end_held_against_the_middle() -> None:
    assert _growth([9.0, 9.0, 2.0, 2.0, 3.0, 3.0]) == 1.5
