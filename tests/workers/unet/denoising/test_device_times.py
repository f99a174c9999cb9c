from typing import Any

from tests.fake_device import FakeDevice
from workers.devices.base import Device
from workers.devices.selection import find_device
from workers.unet.denoising.device_times import DeviceTimes
from workers.unet.timeline import Timeline


def measure_twice(device: Device) -> Timeline:
    timeline = Timeline("unet1@test")
    times = DeviceTimes(device, timeline)
    for name in ("encoder", "decoder"):
        with times.span(name):
            pass
    return timeline


def test_on_a_cpu_a_span_is_added_as_soon_as_it_ends() -> None:
    spans = measure_twice(find_device("cpu")).spans
    assert [span.name for span in spans] == ["encoder", "decoder"]
    assert all(span.start_s <= span.end_s for span in spans)


def test_a_span_is_added_once_the_device_has_come_to_its_end() -> None:
    device, timeline = FakeDevice(), Timeline("unet1@test")
    times = DeviceTimes(device, timeline)
    with times.span("encoder"):
        pass
    with times.span("decoder"):
        pass
    # Given work that was only submitted, no span is added and nobody waits
    times.report_done()
    assert timeline.spans == []
    assert not [entry for entry in device.log if "wait" in entry]
    # When the device has done the first part, that is added
    device.finish(2)
    times.report_done()
    assert [span.name for span in timeline.spans] == ["encoder"]
    # And at the end somebody waits for the rest
    times.report_all()
    assert [span.name for span in timeline.spans] == ["encoder", "decoder"]


def test_waits_that_are_too_short_are_not_shown() -> None:
    timeline = Timeline("unet1@test")
    times = DeviceTimes(find_device("cpu"), timeline)
    times.add_wait("wait for residuals", times.mark())
    assert all(span.end_s - span.start_s > 0.0005 for span in timeline.spans)


def test_a_gpu_tells_when_it_has_done_a_span(cuda: Any) -> None:
    import torch

    timeline = Timeline("unet1@test")
    times = DeviceTimes(cuda, timeline)
    matrix = torch.ones(4096, 4096, device=cuda.torch_device)
    for name in ("first", "second"):
        with times.span(name):
            for _ in range(20):
                matrix = matrix @ matrix * 0
    times.report_all()
    first, second = timeline.spans
    assert first.start_s < first.end_s <= second.start_s < second.end_s
    assert first.end_s - first.start_s > 0.001  # longer than submitting it takes
