"""Steps are timed by events of the device: nobody waits for them but whoever would submit too many."""

import itertools

from tests.fake_device import FakeDevice
from workers.controlnet_serving.step_timer import DeviceSpan, StepTimer
from workers.devices.selection import find_device


def submit(timer: StepTimer, done: list[DeviceSpan]) -> DeviceSpan:
    step = timer.end(timer.start())
    timer.when_done(step, done.append)
    return step


def test_a_step_is_recorded_once_the_device_has_computed_it() -> None:
    # Given a step that was submitted
    now = itertools.count(100.0, 7.0)
    device, done = FakeDevice(now=lambda: next(now)), list[DeviceSpan]()
    timer = StepTimer(device)
    submit(timer, done)
    timer.poll()
    assert done == []
    # When the device has come to its end
    device.finish()
    timer.poll()
    # Then its times are those of the work, and not of its submission
    [step] = done
    assert (step.start_s, step.end_s) == (100.0, 107.0)
    assert not [entry for entry in device.log if entry.startswith(("wait", "synchronize"))]


def test_a_third_step_waits_for_the_first_and_not_for_the_second() -> None:
    device, done = FakeDevice(), list[DeviceSpan]()
    timer = StepTimer(device)
    first = submit(timer, done)
    timer.wait_for_room()
    second = submit(timer, done)
    assert done == []
    timer.wait_for_room()
    assert done == [first]
    assert not second.end.is_done


def test_on_a_cpu_a_step_is_recorded_at_once() -> None:
    done: list[DeviceSpan] = []
    step = submit(StepTimer(find_device("cpu")), done)
    assert done == [step]
    assert step.start_s <= step.end_s
