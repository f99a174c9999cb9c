"""Work is timed by events of the device: nobody waits for them."""

import itertools

from tests.fake_device import FakeDevice
from workers.devices.selection import find_device
from workers.devices.timer import DeviceSpan, DeviceTimer


def submit(timer: DeviceTimer, done: list[DeviceSpan]) -> DeviceSpan:
    step = timer.end(timer.start())
    timer.when_done(step, done.append)
    return step


def test_a_step_is_recorded_once_the_device_has_computed_it() -> None:
    # Given a step that was submitted
    now = itertools.count(100.0, 7.0)
    device, done = FakeDevice(now=lambda: next(now)), list[DeviceSpan]()
    timer = DeviceTimer(device)
    submit(timer, done)
    timer.report_done()
    assert done == []
    # When the device has come to its end
    device.finish()
    timer.report_done()
    # Then its times are those of the work, and not of its submission
    [step] = done
    assert (step.start_s, step.end_s) == (100.0, 107.0)
    assert not [entry for entry in device.log if entry.startswith(("wait", "synchronize"))]


def test_on_a_cpu_a_step_is_recorded_at_once() -> None:
    done: list[DeviceSpan] = []
    step = submit(DeviceTimer(find_device("cpu")), done)
    assert done == [step]
    assert step.start_s <= step.end_s
