"""How long the two workers of a split job wait for each other."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CFGTimings:
    """Waits of leader and follower; tests pass others."""

    #: The leader looks so often whether an idle worker could follow; an offer that nobody takes expires as
    #: soon.
    offer_every_s: float = 2.0
    #: An idle worker needs about as long as the leader to encode the prompt, and hears of the job a little
    #: later.
    first_wait_s: float = 0.1
    #: The follower gets as long as the leader's own branch took, times this, and at least `min_wait_s`.
    wait_factor: float = 3.0
    min_wait_s: float = 0.5
    #: The follower's wait for one step; it checks as often whether it is still wanted.
    check_every_s: float = 0.5
