from workers.unet.deferred import Deferred


def test_chores_are_done_once_in_their_order_and_may_leave_new_ones() -> None:
    told: list[int] = []
    afterwards = Deferred()
    for i in range(2):
        afterwards.add(lambda i=i: told.append(i))  # type: ignore[misc]
    afterwards.run()
    afterwards.run()
    assert told == [0, 1]
