"""How long the two workers of a split job wait for each other."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CFGTimings:
    """Waits of leader and follower; tests pass others."""

    #: The leader offers its branch so often while nobody follows; an offer expires after as long.
    offer_every_s: float = 2.0
    #: The leader's wait before its first step: an idle worker needs about as long as the leader to encode the
    #: prompt, and receives the offer a little later.
    first_wait_s: float = 0.1
    #: The follower gets as long as the leader's own branch took, times this, and at least `min_wait_s`.
    wait_factor: float = 3.0
    min_wait_s: float = 0.5
    #: The follower's wait for one step; it checks as often whether it is preempted.
    check_every_s: float = 0.5
