"""How threads are divided among tenants whose calls are quick or hang; time is told, not waited for."""

from collections.abc import Callable

from tests.shared.webhooks.test_deliveries import Clock
from workers.webhooks.tenant_shares import OF_A_TENANT, SLOW_FOR_S, SLOW_S, TenantShares

THREADS = 32


class Threads:
    """Shares of threads, and the calls that use them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.shares = TenantShares(THREADS, self.clock)
        self.ends: list[tuple[str, Callable[[], None]]] = []

    def may_begin(self, tenant: str) -> bool:
        full = self.shares.full()
        return full is not None and tenant not in full

    def begin_all(self, *tenants: str) -> dict[str, int]:
        """Begin one call of each tenant in turn while one of them may; returns how many began."""
        counts = dict.fromkeys(tenants, 0)
        while can := [tenant for tenant in tenants if self.may_begin(tenant)]:
            for tenant in can:
                if self.may_begin(tenant):
                    self.ends.append((tenant, self.shares.begin(tenant)))
                    counts[tenant] += 1
        return counts

    def end_all(self, after_s: float) -> None:
        """End every call at once."""
        self.clock.now += after_s
        for _, end in self.ends:
            end()
        self.ends.clear()


def names(count: int) -> list[str]:
    return [f"slow{n}" for n in range(count)]


def test_one_tenant_uses_no_more_than_its_share() -> None:
    threads = Threads()
    assert threads.begin_all("a") == {"a": OF_A_TENANT}
    threads.end_all(0.1)
    assert threads.may_begin("a")


def test_tenants_that_hang_leave_threads_for_the_next_ones() -> None:
    for count in range(1, 10):
        threads = Threads()
        for tenant in names(count - 1):
            threads.begin_all(tenant)  # one after another: the first takes all that it may
        assert threads.begin_all("quick")["quick"] >= 1, count


def test_any_number_of_slow_tenants_leaves_half_of_the_threads() -> None:
    threads = slow_threads(3 * THREADS)
    assert sum(threads.begin_all(*names(3 * THREADS)).values()) == THREADS // 2
    assert threads.begin_all("quick")["quick"] > OF_A_TENANT // 2


def slow_threads(count: int) -> Threads:
    """Threads that as many tenants have found to hang."""
    threads = Threads()
    for tenant in names(count):
        threads.ends.append((tenant, threads.shares.begin(tenant)))
    threads.end_all(SLOW_S + 1)
    return threads


def test_a_tenant_is_slow_until_a_quick_call_or_for_a_minute() -> None:
    threads = slow_threads(3 * THREADS)
    threads.begin_all(*names(THREADS))
    last = f"slow{2 * THREADS}"
    assert not threads.may_begin(last)
    threads.clock.now += SLOW_FOR_S
    assert threads.may_begin(last)
    quick = slow_threads(2)
    assert quick.begin_all("slow0")["slow0"] < OF_A_TENANT
    quick.end_all(0.1)
    assert quick.begin_all("slow0")["slow0"] == OF_A_TENANT
