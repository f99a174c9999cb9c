"""What a worker's device does, among its statistics: ``celery inspect stats``, Flower's page of a worker."""

from typing import Any

from celery import Celery, bootsteps

from workers.runtime.activity.device_activity import DeviceActivity


def add_activity_to_stats(app: Celery, activity: DeviceActivity) -> None:
    """Before the worker starts: from then on its statistics have ``activity`` and ``activity_shares``.

    The first is what the device does now, the second the share of each activity in the last minute.
    """
    untyped: Any = bootsteps

    class ShowActivity(untyped.StartStopStep):
        """Celery asks those of its steps for statistics that it would start and stop."""

        def info(self, parent: object) -> dict[str, Any]:
            return {"activity": activity.current(), "activity_shares": activity.shares()}

    app.steps["worker"].add(ShowActivity)
