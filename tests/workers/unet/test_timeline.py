from workers.unet.timeline import Timeline


def test_spans_of_other_workers_are_time_of_devices_and_own_ones_are_measured_whole() -> None:
    timeline = Timeline("unet1")
    with timeline.on_device():
        own_s = timeline.device_s
        timeline.add("unet encoder", 10.0, 12.0)
        timeline.add_known("queued", 0.0, 10.0, "queue")
        timeline.add_known("attempt", 1.0, 2.0, "unet2")  # counted when it ended
    assert own_s == 0.0
    before_s = timeline.device_s
    assert 0.0 <= before_s < 1.0
    timeline.add("controlnet edge", 10.0, 11.5, "controlnet1")
    timeline.add("uncond branch", 11.0, 11.25, "unet2")
    assert timeline.device_s == before_s + 1.75
