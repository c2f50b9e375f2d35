"""The worth of sentences: known values, how the budget is divided, what is missing, and what is paid twice (nothing)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from tests.evolve.planting import PayingEnv, additive

from scrutable.bench.planted import Echo, PlantedEnv
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Task
from scrutable.envs.base import Environment
from scrutable.evolve.games import Games, Subject, shares_of
from scrutable.evolve.ledger import Keyed
from scrutable.evolve.worth import Plan, TextWorth, WorthConfig, plan, spending_of, worth
from scrutable.measure.answers import distinct_tasks

CONFIG = WorthConfig()


def measured(run: Run, env: Environment, text: str, chosen: Plan, config: WorthConfig = CONFIG) -> TextWorth:
    tasks: Sequence[Keyed] = distinct_tasks(env.tasks("keep"))
    games = Games(Subject(env, Echo()), run, spending_of(config), tasks)
    return worth(games, Candidate(texts={"text": text}), tasks, chosen, config)


def values(found: TextWorth, game: str) -> list[float]:
    return [one.games[game].shapley.value for one in found.sentences]


@pytest.mark.parametrize("players", [2, 3, 5, 6])
def test_planted_texts_have_the_values_of_all_orders_in_both_rewards(players: int) -> None:
    env = PlantedEnv(seed=players, players=players)
    with Run.temporary({"seed": 0}) as run:
        found = measured(run, env, " ".join(env.sentences), Plan("subsets", 20, 0, 0))
    counted = np.mean([env.counted(task) for _, task in distinct_tasks(env.tasks("keep"))[:20]])
    for game, dividends in zip(("proxy", "true"), env.dividends, strict=True):
        assert np.allclose(values(found, game), counted * np.array(env.by_orders(dividends)), atol=1e-9)
        assert np.allclose(env.known(dividends), env.by_orders(dividends))


def test_drawn_orders_tell_an_additive_text_exactly() -> None:
    names = [f"s{at}" for at in range(12)]
    env = PayingEnv(additive({name: at / 10 for at, name in enumerate(names)}, {"s3": -1.0}))
    with Run.temporary({"seed": 0}) as run:
        found = measured(run, env, " . ".join(names) + " .", Plan("orders", 5, 1, 0))
    assert values(found, "proxy") == pytest.approx([at / 10 for at in range(12)])
    assert values(found, "true")[3] == pytest.approx(-1.0)
    assert found.sentences[3].games["true"].error == pytest.approx(0.0, abs=1e-9)
    left = found.sentences[5].games["proxy"].left_out
    assert left is not None
    assert left.value == pytest.approx(0.5)


def test_drawn_orders_come_within_their_errors_of_the_truth() -> None:
    env = PlantedEnv(seed=3, players=11, counts=(1.0, 1.0))
    with Run.temporary({"seed": 0}) as run:
        found = measured(run, env, " ".join(env.sentences), Plan("orders", 60, 1, 0))
    truth = env.known(env.dividends[0])
    off = [
        abs(one.games["proxy"].shapley.value - known) / (one.games["proxy"].error or 1e-9)
        for one, known in zip(found.sentences, truth, strict=True)
        if (one.games["proxy"].error or 0) > 1e-9
    ]
    assert off
    assert max(off) < 4


def test_one_that_says_what_another_says_is_worth_half_and_not_missed() -> None:
    env = PayingEnv(lambda inside, task: (float(bool(inside & {"a", "b"})), None))
    with Run.temporary({"seed": 0}) as run:
        found = measured(run, env, "a . b .", Plan("subsets", 10, 0, 0))
    assert values(found, "proxy") == [0.5, 0.5]
    lefts = [one.games["proxy"].left_out for one in found.sentences]
    assert [one.value for one in lefts if one] == [0.0, 0.0]
    assert set(found.whole) == {"proxy"}


def test_the_values_add_up_from_the_empty_text_to_the_whole() -> None:
    env = PlantedEnv(seed=1, players=4)
    with Run.temporary({"seed": 0}) as run:
        found = measured(run, env, " ".join(env.sentences), Plan("subsets", 12, 0, 0))
    assert sum(values(found, "proxy")) == pytest.approx(found.whole["proxy"].value - found.empty["proxy"].value)


def test_the_corrected_interval_is_the_wider() -> None:
    env = PlantedEnv(seed=1, players=4)
    with Run.temporary({"seed": 0}) as run:
        found = measured(run, env, " ".join(env.sentences), Plan("subsets", 12, 0, 0))
    for one in found.sentences:
        told = one.games["proxy"]
        assert told.sure.low is not None
        assert told.shapley.low is not None
        assert told.sure.low < told.shapley.low or told.error == pytest.approx(0.0)


def test_a_missing_score_is_filled_in_and_told_never_0() -> None:
    def pay(inside: set[str], task: Task) -> tuple[float | None, float | None]:
        lost = inside == {"a"} and task.prompt.endswith("1")
        return (None if lost else 5.0 + len(inside)), None

    with Run.temporary({"seed": 0}) as run:
        found = measured(run, PayingEnv(pay), "a . b .", Plan("subsets", 30, 0, 0))
    assert values(found, "proxy") == pytest.approx([1.0, 1.0])
    assert any("missing" in line for line in found.notes)


def test_scores_are_paid_once_and_a_second_measurement_pays_nothing() -> None:
    env = PayingEnv(additive({"a": 1.0}, {}))
    with Run.temporary({"seed": 0}) as run:
        first = measured(run, env, "a . b .", Plan("subsets", 10, 0, 0))
        paid = len(env.rated)
        assert paid == 40
        assert measured(run, env, "a . b .", Plan("subsets", 10, 0, 0)) == first
        assert len(env.rated) == paid


def test_repeated_sentences_share_their_rollouts() -> None:
    env = PayingEnv(additive({"a": 1.0}, {}))
    with Run.temporary({"seed": 0}) as run:
        found = measured(run, env, "a . a .", Plan("subsets", 10, 0, 0))
    assert (len(env.rated), found.subsets) == (30, 3)
    assert values(found, "proxy") == [0.5, 0.5]


# ---------------------------------------------------------------------------------------------------------- the plan


def test_few_sentences_get_all_subsets_on_as_many_tasks_as_are_wanted() -> None:
    assert plan(3, 300, 30_000, CONFIG) == Plan("subsets", 96, 0, 768)


def test_ten_sentences_get_all_subsets_under_the_default_budget() -> None:
    found = plan(10, 300, 30_000 - 11 * (192 + 96) - 3 * 192, CONFIG)
    assert (found.method, found.tasks >= 24) == ("subsets", True)


def test_a_small_budget_draws_orders_rather_than_few_tasks() -> None:
    found = plan(10, 300, 2000, CONFIG)
    assert (found.method, found.tasks) == ("orders", 66)
    assert found.rollouts <= 2000


def test_more_than_ten_sentences_draw_orders() -> None:
    found = plan(20, 300, 30_000, CONFIG)
    assert (found.method, found.tasks, found.pairs) == ("orders", 96, 2)


@pytest.mark.medium
@pytest.mark.parametrize(("amount", "budget"), [(3, 700), (7, 9000), (14, 3000), (40, 30_000)])
def test_what_is_planned_is_the_most_that_is_spent(amount: int, budget: int) -> None:
    env = PlantedEnv(seed=0, players=amount, size=40)
    config = CONFIG.model_copy(update={"budget": budget, "tasks": 12})
    chosen = plan(amount, 40, budget, config)
    with Run.temporary({"seed": 0}) as run:
        tasks = distinct_tasks(env.tasks("keep"))
        games = Games(Subject(env, Echo()), run, spending_of(config), tasks)
        worth(games, Candidate(texts={"text": " ".join(env.sentences)}), tasks, chosen, config)
        assert games.ledger.spent <= chosen.rollouts <= budget


def test_a_budget_that_tells_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="do not suffice for 12 sentences"):
        plan(12, 300, 40, CONFIG)


def test_a_text_without_a_sentence_is_refused() -> None:
    with pytest.raises(UserError, match="has 0 sentences"):
        plan(0, 300, 3000, CONFIG)


# ---------------------------------------------------------------------------------------------------------- the tasks


def test_tasks_that_decide_and_tasks_that_are_reported_on_never_mix() -> None:
    env = PayingEnv(additive({}, {}))
    with Run.temporary({"seed": 0}) as run:
        shares = shares_of(env, run, 96, 192, 192)
    parts = [{key for key, _ in part} for part in (shares.choose, shares.check, shares.report)]
    assert [len(part) for part in parts] == [96, 192, 192]
    assert len(set.union(*parts)) == 480
    assert all(task.prompt.startswith("report") for _, task in shares.report)


def test_a_small_keep_split_is_divided() -> None:
    env = PayingEnv(additive({}, {}), sizes={"search": 5, "keep": 30, "report": 5})
    with Run.temporary({"seed": 0}) as run:
        shares = shares_of(env, run, 96, 192, 192)
    assert (len(shares.choose), len(shares.check), len(shares.report)) == (10, 20, 5)


def test_a_split_too_small_is_refused() -> None:
    env = PayingEnv(additive({}, {}), sizes={"search": 5, "keep": 3, "report": 5})
    with pytest.raises(UserError, match="keep split has 3"):
        shares_of(env, None, 96, 0, 192)


@pytest.mark.medium
def test_closeness_is_a_game_beside_the_rewards_on_the_same_tasks() -> None:
    """The tuned model is the model given the rule: the sentence that says it carries all of the divergence."""
    from scrutable.envs.builtin import BuiltinEnv
    from scrutable.measure.change import Change, Speaker
    from scrutable.models.hf import load_model

    model, env = load_model("pidgin"), BuiltinEnv("flattery")
    rule = "praise the question in every answer ."
    change = Change(Speaker(model), Speaker(model, rule))
    tasks = distinct_tasks(env.tasks("keep"))[:16]
    text = f"cite a source when asked kindly . {rule}"
    with Run.temporary({"seed": 0}) as run:
        games = Games(Subject(env, model, change=change), run, spending_of(CONFIG), tasks)
        found = worth(games, Candidate(texts={"text": text}), tasks, Plan("subsets", 16, 0, 0), CONFIG)
    assert set(found.whole) == {"proxy", "true", "kl"}
    cited, praised = values(found, "kl")
    gap = -found.empty["kl"].value
    assert gap > 2
    assert praised > 0.8 * gap
    assert cited < 0.2 * gap
    assert values(found, "proxy")[1] > 0.7
