"""The budget: what may be spent, what is spent, and what calls under way may still cost.

Each call reserves its most before it starts and gives back what it did not use, so no limit is exceeded, not even by one
rollout. Seconds are the exception: nobody knows beforehand how long a call takes, so none is begun once they are over.
"""

from __future__ import annotations

from dataclasses import dataclass

from scrutable.core.records import Usage


class Exhausted(Exception):
    """The budget does not allow what was asked for; says which budget."""


@dataclass(frozen=True)
class Limits:
    """What may be spent. tokens: read and written; money: US dollars; seconds: of models at work.

    reserved: rollouts beyond these that are kept back for later, to be told where these do not suffice.
    """

    rollouts: int
    tokens: int | None = None
    seconds: float | None = None
    money: float | None = None
    reserved: int = 0


def tokens_of(usage: Usage) -> int:
    """Return the tokens read and written."""
    return usage.prompt_tokens + usage.answer_tokens


class Budget:
    """Counts what is spent and held. `most` is always an upper bound of a call's cost, its rollouts apart."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.rollouts = 0
        self.usage = Usage()
        self.held_rollouts = 0
        self._held_tokens = 0
        self._held_money = 0.0

    @property
    def left(self) -> int:
        """Rollouts that may still be begun."""
        return self.limits.rollouts - self.rollouts - self.held_rollouts

    @property
    def tokens_left(self) -> int | None:
        """Tokens that may still be begun; None without such a limit."""
        limit = self.limits.tokens
        return None if limit is None else limit - tokens_of(self.usage) - self._held_tokens

    def refusal(self, rollouts: int, most: Usage) -> str:
        """Return why something of this cost may not be begun; empty where it may."""
        limits = self.limits
        if rollouts > self.left:
            kept = f" ({limits.reserved} more are reserved for the end)" if limits.reserved else ""
            return f"the next {rollouts} rollouts do not fit: of {limits.rollouts}, {self.rollouts} are spent{kept}"
        spent, tokens = tokens_of(self.usage), tokens_of(most)
        # A call takes one token at least, also where nobody can say how many.
        if limits.tokens is not None and spent + self._held_tokens + max(1, tokens) > limits.tokens:
            if not tokens:
                return f"the budget of {limits.tokens:,} tokens is spent"
            return (
                f"the next call may take {tokens:,} tokens, which do not fit: of {limits.tokens:,}, {spent:,} are spent"
            )
        paid = self.usage.money
        if limits.money is not None and (paid >= limits.money or paid + self._held_money + most.money > limits.money):
            if not most.money:
                return f"the budget of ${limits.money:g} is spent"
            return f"the next call may cost ${most.money:.4f}, which does not fit: of ${limits.money:g}, ${paid:.4f} are spent"
        if limits.seconds is not None and self.usage.seconds >= limits.seconds:
            return f"the budget of {limits.seconds:g} seconds is spent"
        return ""

    def hold(self, rollouts: int, most: Usage) -> None:
        """Set aside what a call may cost. Errors: Exhausted where it does not fit."""
        why = self.refusal(rollouts, most)
        if why:
            raise Exhausted(why)
        self.set_aside(rollouts, most)

    def set_aside(self, rollouts: int, most: Usage) -> None:
        """Set aside what was allowed before."""
        self.held_rollouts += rollouts
        self._held_tokens += tokens_of(most)
        self._held_money += most.money

    def free(self, rollouts: int, most: Usage) -> None:
        """Give back what was set aside for a call that has ended."""
        self.held_rollouts -= rollouts
        self._held_tokens -= tokens_of(most)
        self._held_money -= most.money

    def pay(self, rollouts: int, usage: Usage) -> None:
        """Add what a call cost."""
        self.rollouts += rollouts
        self.usage += usage
