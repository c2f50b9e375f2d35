"""Rewards: what an environment's rater makes of answers, journaled batch by batch. An unscored answer is None, never 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from scrutable.core.records import Score, digest_of
from scrutable.envs.base import Environment, drawn
from scrutable.measure.answers import Said, chunks
from scrutable.measure.tab import Tab
from scrutable.programs.evaluate import rate

Cell = tuple[str, int]


@dataclass(frozen=True)
class Rewards:
    """Proxy and true reward by answer (task's key, repeat), and how many answers could not be scored."""

    proxy: dict[Cell, float] = field(default_factory=dict)
    true: dict[Cell, float] = field(default_factory=dict)
    unscored: int = 0


def rewards_of(said: Sequence[Said], env: Environment | None, tab: Tab, batch: int) -> Rewards:
    """Rate the answers, one "scores" event a batch. Answers that failed are not rated; without `env` nothing is.

    Errors: UserError of the environment (a reward that fails in a way that makes further calls pointless).
    """
    if env is None:
        return Rewards()
    answered = [one for one in said if one.generation.failure is None]
    proxy: dict[Cell, float] = {}
    true: dict[Cell, float] = {}
    for part in chunks(answered, batch):
        name = digest_of([[one.key, one.repeat, one.generation.answer] for one in part])
        event = tab.once(f"measure/scores/{env.identity}/{name}", "scores", partial(_rated, part, env))
        scores = [Score.model_validate(given) for given in event.payload["scores"]]
        for one, score in zip(part, scores, strict=True):
            if score.value is not None:
                proxy[one.cell] = score.value
            if score.true is not None:
                true[one.cell] = score.true
    return Rewards(proxy, true, len(answered) - len(proxy))


def _rated(part: Sequence[Said], env: Environment) -> tuple[dict[str, Any], None]:
    # A rater that draws is to draw anew for each repeat of an answer, and the same whenever this is measured again.
    tasks = [drawn(env, [one.task], one.repeat)[0] for one in part]
    scores = rate(env, tasks, [one.generation.answer for one in part])
    asked = [[one.key, one.repeat] for one in part]
    return {"asked": asked, "scores": [score.model_dump(mode="json") for score in scores]}, None
