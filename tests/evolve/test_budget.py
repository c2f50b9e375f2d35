"""The budget: whatever is held and paid in whatever order, no limit is exceeded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrutable.core.records import Usage
from scrutable.evolve.budget import Budget, Exhausted, Limits, tokens_of

CALLS = st.lists(
    st.tuples(
        st.integers(0, 5),  # rollouts
        st.integers(0, 40),  # most tokens
        st.integers(0, 40),  # most money, in cents
        st.floats(0, 1),  # share of them that it takes
        st.integers(0, 6),  # ends after so many others have begun
    ),
    max_size=40,
)


@given(CALLS, st.integers(0, 60), st.integers(1, 300), st.integers(1, 300))
def test_limits_hold_whatever_is_under_way(calls: list[tuple], rollouts: int, tokens: int, cents: int) -> None:
    budget = Budget(Limits(rollouts, tokens=tokens, money=cents / 100))
    under_way: list[tuple[int, Usage, float, int]] = []
    begun = refused = 0
    for number, (count, read, price, share, ends) in enumerate(calls):
        most = Usage(prompt_tokens=read // 2, answer_tokens=read - read // 2, money=price / 100)
        try:
            budget.hold(count, most)
        except Exhausted as why:
            refused += 1
            assert str(why)
        else:
            begun += 1
            under_way.append((count, most, share, number + ends))
        for one in [one for one in under_way if one[3] <= number]:
            under_way.remove(one)
            settle(budget, *one[:3])
        assert_within(budget, under_way)
    for one in under_way:
        settle(budget, *one[:3])
    assert_within(budget, [])
    assert begun + refused == len(calls)
    assert budget.held_rollouts == 0


def settle(budget: Budget, count: int, most: Usage, share: float) -> None:
    took = Usage(answer_tokens=int(tokens_of(most) * share), money=most.money * share)
    budget.free(count, most)
    budget.pay(count, took)


def assert_within(budget: Budget, under_way: list) -> None:
    limits = budget.limits
    assert limits.tokens is not None
    assert limits.money is not None
    assert budget.rollouts + sum(one[0] for one in under_way) <= limits.rollouts
    assert budget.left == limits.rollouts - budget.rollouts - sum(one[0] for one in under_way)
    held = sum(tokens_of(one[1]) for one in under_way)
    assert tokens_of(budget.usage) + held <= limits.tokens
    assert budget.tokens_left == limits.tokens - tokens_of(budget.usage) - held
    assert budget.usage.money + sum(one[1].money for one in under_way) <= limits.money + 1e-9


def test_a_refused_call_holds_nothing() -> None:
    budget = Budget(Limits(5, tokens=10))
    for rollouts, most in ((6, Usage()), (1, Usage(answer_tokens=11))):
        with pytest.raises(Exhausted):
            budget.hold(rollouts, most)
    assert (budget.left, budget.tokens_left) == (5, 10)


@pytest.mark.parametrize(
    ("limits", "rollouts", "most", "why"),
    [
        (Limits(5), 3, Usage(), "the next 3 rollouts do not fit: of 5, 3 are spent"),
        (
            Limits(5, reserved=2),
            3,
            Usage(),
            "the next 3 rollouts do not fit: of 5, 3 are spent (2 more are reserved for the end)",
        ),
        (
            Limits(9, tokens=1500),
            1,
            Usage(answer_tokens=1200),
            "the next call may take 1,200 tokens, which do not fit: of 1,500, 1,000 are spent",
        ),
        (Limits(9, tokens=1000), 1, Usage(), "the budget of 1,000 tokens is spent"),
        (
            Limits(9, money=0.5),
            1,
            Usage(money=0.3),
            "the next call may cost $0.3000, which does not fit: of $0.5, $0.2500 are spent",
        ),
        (Limits(9, money=0.25), 1, Usage(), "the budget of $0.25 is spent"),
        (Limits(9, seconds=2), 1, Usage(), "the budget of 2 seconds is spent"),
        (Limits(9, seconds=2), 0, Usage(), "the budget of 2 seconds is spent"),
    ],
)
def test_which_budget_ends_is_told(limits: Limits, rollouts: int, most: Usage, why: str) -> None:
    budget = Budget(limits)
    budget.pay(3, Usage(prompt_tokens=600, answer_tokens=400, money=0.25, seconds=2.0))
    assert budget.refusal(rollouts, most) == why


def test_the_last_that_fits_is_given() -> None:
    budget = Budget(Limits(5, tokens=100, money=1.0))
    budget.hold(5, Usage(answer_tokens=100, money=1.0))
    assert (budget.left, budget.tokens_left) == (0, 0)


def test_without_limits_but_rollouts_anything_goes() -> None:
    budget = Budget(Limits(1))
    budget.hold(1, Usage(answer_tokens=10**9, money=1e6, seconds=1e9))
    assert budget.tokens_left is None
