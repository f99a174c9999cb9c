from tests.fake_device import FakeDevice
from workers.devices.selection import find_device
from workers.devices.steps_in_flight import StepsInFlight


def test_the_loop_is_two_steps_ahead_of_the_device_at_most() -> None:
    device = FakeDevice()
    steps = StepsInFlight(device)
    submitted: list[int] = []
    for step in range(1, 6):
        steps.wait_for_room()
        submitted.append(step - device.done)  # steps that are not done, this one included
        steps.add()
    assert submitted == [1, 2, 2, 2, 2]
    assert [entry for entry in device.log if "wait" in entry] == ["wait 1", "wait 2", "wait 3"]


def test_a_device_that_is_faster_than_the_loop_is_not_waited_for() -> None:
    device = FakeDevice()
    steps = StepsInFlight(device)
    for _ in range(5):
        steps.wait_for_room()
        steps.add()
        device.finish()
    assert not [entry for entry in device.log if "wait" in entry]
    cpu = StepsInFlight(find_device("cpu"))
    for _ in range(5):
        cpu.wait_for_room()
        cpu.add()
