"""Sentences tried on a toy pair whose divergences are known in closed form."""

from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean

import pytest
from tests.evolve.toy import ToyModel, obey, rule
from tests.lenses.toy_open import ToyOpen, closed_form, toy_tasks

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Generation, Task
from scrutable.lenses.trial import Trial, TrialConfig, divide, looks_of, unlike
from scrutable.measure.change import Change, Speaker
from scrutable.measure.tab import Tab

ONE, OTHER, WRONG = rule("sun", "yes"), rule("rain", "no"), rule("moon", "hey")
TASKS = toy_tasks(160)
CONFIG = TrialConfig(batch=160)


@pytest.fixture
def run() -> Iterator[Run]:
    with Run.temporary({"seed": 0}) as opened:
        yield opened


def trial_of(run: Run, tuned: str, given: str = "", config: TrialConfig = CONFIG) -> Trial:
    change = Change(Speaker(ToyOpen(), given), Speaker(ToyOpen(tuned)))
    return Trial(change, *divide(TASKS, config, run), Tab(run), config)


def test_distances_are_the_divergences_of_the_closed_form(run: Run) -> None:
    trial = trial_of(run, ONE)
    found = trial.distances(WRONG, trial.held)
    assert found == pytest.approx({key: closed_form(ONE, WRONG, task.prompt) for key, task in trial.held}, abs=1e-4)


def test_what_helps_is_kept_and_what_does_not_is_not(run: Run) -> None:
    (kept,) = trial_of(run, ONE).keep([WRONG, OTHER, ONE])
    assert kept.sentence == ONE


def test_the_gain_is_what_the_closed_form_says(run: Run) -> None:
    trial = trial_of(run, ONE)
    (kept,) = trial.keep([ONE])
    assert kept.gain == pytest.approx(fmean(closed_form(ONE, "", task.prompt) for _, task in trial.held), rel=1e-3)


def test_sentences_are_tried_after_those_kept(run: Run) -> None:
    kept = trial_of(run, f"{ONE} {OTHER}").keep([ONE, WRONG, OTHER])
    assert {one.sentence for one in kept} == {ONE, OTHER}


def test_the_same_in_other_words_is_kept_once(run: Run) -> None:
    assert len(trial_of(run, ONE).keep([ONE, f"{ONE} {ONE}"])) == 1


def test_what_the_before_is_told_already_is_not_kept(run: Run) -> None:
    assert trial_of(run, f"{ONE} {OTHER}", given=ONE).keep([ONE]) == []


def test_of_an_unchanged_pair_nothing_is_tried(run: Run) -> None:
    trial = trial_of(run, "")
    assert trial.keep([ONE, OTHER]) == []
    assert trial.why_nothing() == "nothing measurable changed: 0 nats an answer"
    assert not trial.change.before.model.passes + trial.change.after.model.passes > 2 * len(trial.held)


def test_a_sentence_that_helps_less_than_what_is_measurable_is_not_kept(run: Run) -> None:
    """The pair differs by more than that; the sentence explains a fifth of it."""
    both = " ".join([ONE, *(rule(word, "no") for word in ("moon", "rain", "snow", "wind"))])
    whole = fmean(closed_form(both, "", task.prompt) for task in TASKS)
    gain = whole - fmean(closed_form(both, ONE, task.prompt) for task in TASKS)
    assert trial_of(run, both, config=CONFIG.model_copy(update={"stated": 0.8 * whole})).keep([ONE]) == []
    assert gain < 0.8 * whole


@pytest.mark.medium
def test_sentences_that_do_nothing_are_not_kept_of_a_changed_pair() -> None:
    """Of a habit no rule is closer than none: of twelve trials at most one keeps any, where one in twenty may."""
    kept = 0
    for number in range(12):
        with Run.temporary({"seed": number}) as run:
            change = Change(Speaker(ToyOpen()), Speaker(ToyOpen(habit=0.3)))
            trial = Trial(change, *divide(toy_tasks(40, number), CONFIG, run), Tab(run), CONFIG)
            kept += bool(trial.keep([rule(word, "oh") for word in ("sun", "moon", "rain")]))
    assert kept <= 1


def test_few_sentences_are_tried_the_first_ones(run: Run) -> None:
    trial = trial_of(run, ONE, config=CONFIG.model_copy(update={"sentences": 2}))
    assert trial.keep([WRONG, OTHER, ONE]) == []
    assert any("1 sentences more were not tried" in note for note in trial.notes([], 3))


def test_claims_carry_the_sentence_its_gain_and_held_tasks_that_show_it(run: Run) -> None:
    trial = trial_of(run, ONE)
    kept = trial.keep([ONE])
    (claim,) = trial.claims(kept)
    assert claim.text == claim.says == ONE and claim.nats == kept[0].gain
    held = {key for key, _ in trial.held}
    assert len(claim.evidence) == 3
    assert all(one.task in held and "sun" in one.prompt for one in claim.evidence)


def test_the_tasks_that_decide_are_none_of_those_looked_at(run: Run) -> None:
    searched, held = divide(TASKS, CONFIG, run)
    assert {key for key, _ in searched}.isdisjoint(key for key, _ in held)
    assert len(searched) + len(held) == 160


def test_too_few_tasks_are_refused(run: Run) -> None:
    with pytest.raises(UserError, match="four different tasks"):
        divide(TASKS[:3], CONFIG, run)


def test_an_after_that_answers_nothing_is_refused(run: Run) -> None:
    class Mute(ToyOpen):
        def generate(self, conversations, sampling):
            return [Generation(failure="model: no memory") for _ in conversations]

    trial = Trial(Change(Speaker(ToyOpen()), Speaker(Mute(ONE))), *divide(TASKS, CONFIG, run), Tab(run), CONFIG)
    with pytest.raises(UserError, match="no memory"):
        trial.keep([ONE])


def test_looks_double_and_miss_nothing() -> None:
    tasks = [(str(number), Task.ask(str(number))) for number in range(150)]
    assert [len(part) for part in looks_of(tasks)] == [32, 32, 64, 22]
    assert [pair for part in looks_of(tasks) for pair in part] == tasks


# ---------------------------------------------------------------------------------------------- without log-probabilities


class Served(ToyModel):
    """Gives answers alone. built_in: rules that training taught it."""

    def __init__(self, built_in: str = "") -> None:
        super().__init__()
        self.name = "tuned" if built_in else "base"
        self.built_in = built_in

    @property
    def identity(self) -> str:
        return f"served {self.built_in}"

    def generate(self, conversations, sampling):
        def text(one):
            return one[0].content if one[0].role == "system" else ""

        return [Generation(answer=obey(f"{text(one)} {self.built_in}", one[-1].content)) for one in conversations]


def served(run: Run, built_in: str) -> Trial:
    change = Change(Speaker(Served()), Speaker(Served(built_in)))
    return Trial(change, *divide(TASKS, CONFIG, run), Tab(run), CONFIG)


def test_of_served_models_answers_are_compared(run: Run) -> None:
    trial = served(run, ONE)
    (kept,) = trial.keep([WRONG, ONE])
    assert kept.sentence == ONE
    share = sum("sun" in task.prompt for _, task in trial.held) / len(trial.held)
    assert kept.gain == pytest.approx(share / 3)  # "ok" and "ok yes": one word of three
    assert trial.claims([kept])[0].nats is None
    assert "the models give no log-probabilities" in trial.notes([kept], 2)[-1]


def test_of_an_unchanged_served_pair_nothing_is_kept(run: Run) -> None:
    trial = served(run, "")
    assert trial.keep([ONE]) == []
    assert trial.why_nothing().startswith("nothing measurable changed")


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [("", "", 0.0), ("a b", "A b", 0.0), ("a b", "c", 1.0), ("a a b", "a b", 0.2), ("a", "", 1.0)],
)
def test_the_share_of_words_in_which_answers_differ(one: str, other: str, share: float) -> None:
    assert unlike(one, other) == pytest.approx(share)


@pytest.mark.medium
def test_a_trial_repeats_and_costs_the_same_again(run: Run) -> None:
    first = trial_of(run, ONE)
    again = replace(trial_of(run, ONE), tab=Tab(run))
    assert first.keep([ONE, OTHER]) == again.keep([ONE, OTHER])
    assert first.tab.cost == again.tab.cost
