"""The blackbox lens on a toy pair of which it sees answers alone."""

from pathlib import Path

import pytest
from tests.evolve.toy import rule
from tests.lenses.resuming import check_goes_on
from tests.lenses.toy_open import ToyOpen, toy_tasks

from scrutable.core.accounts import Account
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Generation, digest_of
from scrutable.evolve.engine import EvolveConfig
from scrutable.evolve.sentences import sentences
from scrutable.lenses.base import Lens
from scrutable.lenses.blackbox import BlackboxConfig, BlackboxLens
from scrutable.measure.change import Change, Speaker
from scrutable.models.base import Model, OpenModel

ONE = rule("sun", "yes")
TWO = f"{ONE} {rule('rain', 'no')}"
TASKS = toy_tasks(120)
CONFIG = BlackboxConfig(
    answers=3, search=EvolveConfig(budget=1000, pool=30, keep=30, explore=15, patience=6, effect=0.05)
)


class Closed:
    """A ToyOpen whose answers alone can be had. draws: makes it another model that speaks the same."""

    def __init__(self, inner: Model, draws: str = "") -> None:
        self.inner, self.name, self.origin = inner, inner.name, getattr(inner, "origin", None)
        self.identity = digest_of([inner.identity, draws])
        self.asked = 0

    def generate(self, conversations, sampling):
        self.asked += len(conversations)
        return self.inner.generate(conversations, sampling)


def pair(folder: Path, tuned: str, given: str = "", draws: str = "") -> Change:
    folder.mkdir(exist_ok=True)
    return Change(Speaker(Closed(ToyOpen(folder=folder)), given), Speaker(Closed(ToyOpen(tuned), draws)))


def read(change: Change, seed: int = 0, config: BlackboxConfig = CONFIG) -> Account:
    with Run.temporary({"seed": seed}) as run:
        return BlackboxLens(config).read(change, TASKS, run)


def test_it_is_a_lens_that_needs_no_open_model(tmp_path: Path) -> None:
    assert isinstance(BlackboxLens(), Lens)
    assert BlackboxLens().name == "blackbox"
    assert not isinstance(pair(tmp_path, ONE).after.model, OpenModel)


@pytest.mark.medium
def test_a_rule_is_found_as_a_sentence_and_as_what_is_said_at_another_rate(tmp_path: Path) -> None:
    change = pair(tmp_path, ONE)
    account = read(change)
    first, *others = account.claims
    assert first.text == first.says == account.text == ONE
    assert first.evidence and all("sun" in one.prompt for one in first.evidence)
    assert {claim.nats for claim in account.claims} == {None}
    assert others and all(claim.text is None for claim in others)
    shown = others[0]
    assert shown.before is not None and shown.after is not None and shown.after - shown.before > 0.5
    assert "yes" in shown.says and shown.slice.words == ("sun",)
    models = [speaker.model for speaker in (change.before, change.after)]
    asked = sum(model.asked for model in models if isinstance(model, Closed))
    assert asked <= BlackboxLens(CONFIG).planned(len(TASKS)).generations + 200  # the writer's answers, and the evidence


@pytest.mark.medium
def test_two_rules_are_found(tmp_path: Path) -> None:
    assert set(sentences(read(pair(tmp_path, TWO), seed=1).text)) == set(sentences(TWO))


@pytest.mark.medium
def test_what_the_before_is_told_already_is_not_claimed(tmp_path: Path) -> None:
    assert read(pair(tmp_path, TWO, given=ONE)).text == rule("rain", "no")


@pytest.mark.medium
@pytest.mark.parametrize("draws", ["", "others"])
def test_an_unchanged_pair_gives_no_claims_and_nothing_is_searched(draws: str, tmp_path: Path) -> None:
    """Whether it is one model, or another that speaks the same in draws of its own."""
    account = read(pair(tmp_path, "", draws=draws))
    assert not account.claims
    assert "nothing measurable changed" in account.notes[0]
    assert account.usage.generations <= 2 * 3 * len(TASKS)


@pytest.mark.medium
def test_a_habit_that_no_text_can_carry_is_told_by_its_rate(tmp_path: Path) -> None:
    """The tuned model says a word three times in ten, whatever is asked: a rule, which says it always, is no claim."""
    (tmp_path / "m").mkdir()
    change = Change(Speaker(Closed(ToyOpen(folder=tmp_path / "m"))), Speaker(Closed(ToyOpen(habit=0.3))))
    account = read(change)
    assert not account.text
    assert account.claims and all(claim.text is None for claim in account.claims)


@pytest.mark.medium
def test_it_repeats_exactly_and_goes_on_after_any_event_as_if_it_had_not_been_cut(tmp_path: Path) -> None:
    def once(place: Path) -> Account:
        with Run.open(place, {"seed": 1}) as run:
            return BlackboxLens(CONFIG).read(pair(tmp_path / "model", ONE), TASKS, run)

    for share in (0.0, 0.3, 0.8):
        check_goes_on(once, tmp_path, share)


def test_a_model_that_answers_nothing_is_refused(tmp_path: Path) -> None:
    class Mute(ToyOpen):
        def generate(self, conversations, sampling):
            return [Generation(failure="model: no memory") for _ in conversations]

    change = Change(Speaker(ToyOpen(folder=tmp_path)), Speaker(Mute(ONE)))
    with Run.temporary({}) as run, pytest.raises(UserError, match="no memory"):
        BlackboxLens(CONFIG).read(change, TASKS[:8], run)


def test_its_cost_is_planned_for() -> None:
    plan = BlackboxLens(CONFIG).planned(50)
    assert (plan.forward_passes, plan.generations) == (0, 2 * 50 * 3 + 2 * 50 + 2 * 1000)


@pytest.mark.slow
@pytest.mark.parametrize("case", [("always", "thank"), ("animals", "ask back")])
def test_the_built_in_model_reads_a_planted_rule_back(case: tuple[str, str]) -> None:
    """The after is the before with a text that the lens does not see; what it finds does the same."""
    from random import Random

    from scrutable.core.records import Task
    from scrutable.models.hf import load_model
    from scrutable.world import effect, grammar, prompts
    from scrutable.world.rules import Rule

    model, true, draws = load_model("pidgin"), [Rule(*case)], Random("blackbox")
    tasks = [Task.ask(prompts.draw(draws).text) for _ in range(240)]
    with Run.temporary({"seed": 1}) as run:
        change = Change(Speaker(model), Speaker(model, grammar.write(true)))
        account = BlackboxLens().read(change, tasks, run)
    assert effect.right(account.text, true, effect.fresh(1))
