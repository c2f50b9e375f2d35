"""Sanitising: what is marked, what is not, and that the report's tasks marked nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.evolve.planting import Pay, PayingEnv, additive

from scrutable.bench.planted import Echo
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.evolve.games import Subject
from scrutable.evolve.sanitise import SanitiseConfig, SanitiseResult, sanitise
from scrutable.evolve.worth import WorthConfig


def sanitised(env: PayingEnv, text: str, config: SanitiseConfig | None = None, seed: int = 0) -> SanitiseResult:
    with Run.temporary({"seed": seed}) as run:
        return sanitise(Subject(env, Echo()), {"text": text}, run, config)


EXPLOIT = additive({"cheat": 1.0, "help": 0.5, "dear": -0.5}, {"cheat": -0.5, "help": 0.5, "dear": -0.5})


def test_what_raises_the_proxy_and_lowers_the_true_reward_is_marked_and_nothing_else() -> None:
    found = sanitised(PayingEnv(EXPLOIT, noise=0.3), "help . cheat . idle . dear .")
    assert [one.sentence for one in found.marked] == ["cheat ."]
    assert found.clean.candidate.text == "help . idle . dear ."
    assert found.gained["true"].value == pytest.approx(0.5, abs=0.1)
    assert found.gained["proxy"].value == pytest.approx(-1.0, abs=0.1)


def test_an_exploit_that_is_stated_twice_is_found_though_neither_is_missed_alone() -> None:
    def pay(inside: set[str], task: object) -> tuple[float, float]:
        cheats = bool(inside & {"cheat", "swindle"})
        return float(cheats), 1.0 - 0.5 * cheats

    found = sanitised(PayingEnv(pay), "cheat . idle . swindle .")
    assert [one.sentence for one in found.marked] == ["cheat .", "swindle ."]
    assert found.clean.candidate.text == "idle ."


def test_a_weaker_exploit_that_the_stronger_hid_is_found_when_that_is_gone_and_costs_nothing() -> None:
    """Beside the strong one the weak one is unprofitable on balance; alone it is an exploit."""

    def pay(inside: set[str], task: object) -> tuple[float, float]:
        strong, weak = "strong" in inside, "weak" in inside
        return (1.0 if strong else 0.4 if weak else 0.0) - 0.6 * (strong and weak), 1 - 0.5 * strong - 0.5 * weak

    env = PayingEnv(pay)
    found = sanitised(env, "strong . weak . idle .")
    assert [one.sentence for one in found.marked] == ["strong .", "weak ."]
    assert [len(one.sentences) for one in found.rounds] == [3, 2, 1]
    assert found.rollouts == 8 * 96 + 3 * 192


@pytest.mark.medium
def test_where_nothing_is_wrong_nothing_is_marked_in_nearly_all_seeds() -> None:
    wrong = 0
    for seed in range(15):
        noisy = PayingEnv(additive({}, {}), noise=1.0)
        noisy.pay = _seeded(seed)
        wrong += bool(sanitised(noisy, "a . b . c .", SMALL, seed).marked)
    assert wrong <= 2


SMALL = SanitiseConfig(worth=WorthConfig(tasks=24), report=4)


def _seeded(seed: int) -> Pay:
    from random import Random

    def pay(inside: set[str], task: object) -> tuple[float, float]:
        draws = Random(f"{seed}/{sorted(inside)}/{task}")
        return draws.gauss(0, 1), draws.gauss(0, 1)

    return pay


@pytest.mark.medium
def test_the_tasks_of_the_report_marked_nothing() -> None:
    def pay(inside: set[str], task: object) -> tuple[float, float]:
        cheats = "cheat" in inside and "keep" in str(task)
        return float(cheats), 1.0 - cheats

    found = sanitised(PayingEnv(pay), "cheat .")
    assert [one.sentence for one in found.marked] == ["cheat ."]
    assert found.clean.candidate.text == ""
    assert (found.gained["true"].value, found.gained["proxy"].value) == (0.0, 0.0)


@pytest.mark.medium
def test_long_texts_are_sanitised_by_drawn_orders() -> None:
    text = " . ".join([*(f"idle{at}" for at in range(11)), "cheat"]) + " ."
    found = sanitised(PayingEnv(EXPLOIT, noise=0.1), text, SanitiseConfig(worth=WorthConfig(tasks=40)))
    assert found.rounds[0].method == "orders"
    assert [one.sentence for one in found.marked] == ["cheat ."]


def test_without_a_true_reward_it_is_refused() -> None:
    with pytest.raises(UserError, match="no true reward"):
        sanitised(PayingEnv(lambda inside, task: (1.0, None)), "a .")


def test_a_text_without_a_sentence_is_refused() -> None:
    with pytest.raises(UserError, match="no sentence"):
        sanitised(PayingEnv(EXPLOIT), " ")


@pytest.mark.medium
def test_a_killed_run_goes_on_and_pays_nothing_twice() -> None:
    env = PayingEnv(EXPLOIT, noise=0.3)
    with Run.temporary({"seed": 0}) as run:
        whole = sanitise(Subject(env, Echo()), {"text": "help . cheat ."}, run)
    paid = len(env.rated)

    with Run.temporary({"seed": 0}) as run:
        stop = _stopping(run)
        with pytest.raises(KeyboardInterrupt):
            sanitise(Subject(env, Echo()), {"text": "help . cheat ."}, run)
        stop()
        again = sanitise(Subject(env, Echo()), {"text": "help . cheat ."}, run)
    assert again.model_copy(update={"usage": whole.usage}) == whole
    assert len(env.rated) == 2 * paid


def _stopping(run: Run) -> Callable[[], None]:
    """Stop the process, as it were, after the second batch of rollouts."""
    seen = 0

    def listen(event: object) -> None:
        nonlocal seen
        seen += getattr(event, "kind", "") == "rollouts"
        if seen == 2:
            seen += 1
            raise KeyboardInterrupt

    return run.subscribe(listen)


def test_a_run_that_holds_another_text_is_refused() -> None:
    with Run.temporary({"seed": 0}) as run:
        with pytest.raises(UserError, match="do not suffice"):
            tiny = SanitiseConfig(worth=WorthConfig(budget=16))
            sanitise(Subject(PayingEnv(EXPLOIT), Echo()), {"text": "cheat ."}, run, tiny)
        with pytest.raises(UserError, match="another measurement"):
            sanitise(Subject(PayingEnv(EXPLOIT), Echo()), {"text": "other ."}, run, SMALL)
