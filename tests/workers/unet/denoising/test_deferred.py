from workers.unet.denoising.deferred import DeferredCalls


def test_deferred_functions_are_called_once_in_their_order() -> None:
    called: list[int] = []
    deferred = DeferredCalls()
    for i in range(2):
        deferred.add(lambda i=i: called.append(i))  # type: ignore[misc]
    deferred.run()
    deferred.run()
    assert called == [0, 1]
