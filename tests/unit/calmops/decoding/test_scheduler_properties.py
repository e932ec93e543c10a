"""The scheduler keeps its promises under random arrivals, lengths, cancels, cache sizes and beam searches.

tests/support/scheduler_simulation.py has the assertions.
"""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.scheduler_simulation import Figures, Simulation


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**63))
def test_any_seeded_run_keeps_every_promise(seed: int) -> None:
    Simulation(seed).run()


def test_the_simulation_covers_every_kind_of_event() -> None:
    figures = Figures()
    for seed in range(150):
        figures.add(Simulation(seed).run())
    for name in ("preempted", "cancelled", "refused", "cached", "searches", "full_steps", "waits"):
        assert getattr(figures, name) > 10, f"{name}: {figures}"
