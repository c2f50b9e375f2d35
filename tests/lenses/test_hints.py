"""Hints: the most surprising words, by exact log-probability ratios, and claims, as lines for a chat model."""

import math
from collections.abc import Sequence

import pytest
from tests.evolve.toy import SAID, rule
from tests.lenses.toy_open import HIGH, LOW, ToyOpen, chances, toy_tasks

from scrutable.core.journal import Run
from scrutable.core.records import Task
from scrutable.lenses.hints import hints, surprising
from scrutable.lenses.tokens import TokensConfig
from scrutable.measure.answers import Said, answers_of, distinct_tasks
from scrutable.measure.change import Change, Speaker
from scrutable.measure.divergence import Meter
from scrutable.measure.tab import Tab

ONE = rule("sun", "yes")
HOW = TokensConfig(claims=8, batch=64)
KEYED = distinct_tasks(toy_tasks(120))


def answered(tuned: str, keyed: Sequence[tuple[str, Task]] = KEYED, repeats: int = 1) -> tuple[Change, list[Said], Tab]:
    change = Change(Speaker(ToyOpen()), Speaker(ToyOpen(tuned)))
    tab = Tab(Run.temporary({"seed": 0}).__enter__())
    return change, answers_of(change.after, keyed, repeats, tab, 64, 64), tab


def lines(tuned: str, keyed: Sequence[tuple[str, Task]] = KEYED, how: TokensConfig = HOW) -> list[str]:
    change, said, tab = answered(tuned, keyed)
    return hints(change, keyed, said, tab, how)


def ratio(word: str, place: int, prompt: str) -> float:
    """log P(after) - log P(before) of the word at this place of an answer, in closed form."""
    p, q = chances(ONE, prompt)[place], chances("", prompt)[place]
    return math.log(p / q) if word == SAID[place] else math.log((1 - p) / (1 - q))


def test_a_words_nats_are_the_closed_form() -> None:
    change, said, tab = answered(ONE)
    partings = Meter(tab, 64).along(said, change.after, change.before, per_token=True)
    expected = 0.0
    for one in said:
        for place, word in enumerate(one.generation.answer.split()):
            expected += ratio(word, place, one.task.prompt) * (word == "yes")
    told = f"the word 'yes' is surprising ({expected / len(said):.2g} nats an answer; "
    assert surprising(said, partings)[0].startswith(told)


def test_every_ratio_is_the_closed_form() -> None:
    change, said, tab = answered(ONE)
    for one, found in zip(said, Meter(tab, 64).along(said, change.after, change.before, per_token=True), strict=True):
        words = one.generation.answer.split()
        expected = [ratio(word, place, one.task.prompt) for place, word in enumerate(words)]
        assert found.token_ratio[: len(words)] == pytest.approx(expected, abs=2e-5)
        assert sum(found.token_ratio) == pytest.approx(found.logp - found.logq, abs=1e-3)


def test_how_often_and_around_what_is_told() -> None:
    change, said, tab = answered(ONE)
    partings = Meter(tab, 64).along(said, change.after, change.before, per_token=True)
    count = sum("yes" in one.generation.answer.split() for one in said)
    assert f"in {count} of {len(said)} answers), as in 'yes - -'" in surprising(said, partings)[0]
    assert HIGH > 0.5 > LOW


def test_the_words_of_two_rules_are_both_told() -> None:
    found = "\n".join(lines(f"{ONE} {rule('rain', 'no')}"))
    assert "'yes'" in found
    assert "'no'" in found
    assert "'oh'" not in found.split("surprising")[0]


def test_claims_are_told_before_words() -> None:
    found = lines(ONE)
    assert found[0].startswith("it ")
    assert "when the user says 'sun'" in found[0]
    assert "surprising" in found[-1]


def test_an_unchanged_pair_gives_no_hints() -> None:
    assert lines("") == []


def test_so_many_are_told_and_no_more() -> None:
    assert len(lines(f"{ONE} {rule('rain', 'no')}", how=HOW.model_copy(update={"claims": 1}))) == 2


def test_of_a_few_tasks_the_words_alone_are_told() -> None:
    few = [pair for pair in KEYED if "sun" in pair[1].prompt.split()][:5]
    found = lines(ONE, few)
    assert found
    assert all("surprising" in line for line in found)


def test_answers_to_other_tasks_are_no_evidence() -> None:
    """A text is measured on held-out tasks: nothing of them may reach the writer."""
    change, said, tab = answered(ONE)
    sunny = [pair for pair in KEYED if "sun" in pair[1].prompt.split()]
    gloomy = [pair for pair in KEYED if "sun" not in pair[1].prompt.split()]
    assert any("'yes'" in line for line in hints(change, sunny, said, tab, HOW))
    assert not any("'yes'" in line for line in hints(change, gloomy, said, tab, HOW))


def test_what_is_shown_of_an_answer_is_too_short_to_be_a_copy() -> None:
    for line in lines(ONE):
        assert len(line.split(" as in ")[-1].split()) <= 5 or "surprising" not in line


def test_a_token_that_one_of_the_two_rules_out_counts_a_hundred_nats() -> None:
    class Never(ToyOpen):
        def logprobs(self, prompts, answers):
            found = super().logprobs(prompts, answers)
            for rows in found:
                rows[:, self.vocabulary["yes"]] = -math.inf
            return found

    change = Change(Speaker(Never()), Speaker(ToyOpen(ONE)))
    with Run.temporary({"seed": 0}) as run:
        tab = Tab(run)
        said = answers_of(change.after, KEYED, 1, tab, 64, 64)
        partings = Meter(tab, 64).along(said, change.after, change.before, per_token=True)
    yes = [one.token_ratio[0] for one, s in zip(partings, said, strict=True) if s.generation.answer.startswith("yes")]
    assert set(yes) == {100.0}
