"""Agreement of sampled answers: what is recovered, its nulls, and when no share is printed."""

import pytest
from tests.measure.counting import Counting, greets

from scrutable.core.accounts import Fidelity
from scrutable.core.errors import UserError
from scrutable.core.journal import Run, differing_keys
from scrutable.core.records import Generation, Score, Task
from scrutable.measure import match
from scrutable.measure.change import Change, Speaker
from scrutable.measure.hearing import MeasureConfig
from scrutable.measure.voices import LEVEL

TASKS = [Task.ask(f"what is {number} ?") for number in range(24)]
CONFIG = MeasureConfig(tasks=24, answers=3, unrelated=4, random=2, shuffled=1, null_tasks=24, null_answers=3)


def measured(text: str, after=None, config: MeasureConfig = CONFIG, tasks=TASKS, env=None, run=None) -> Fidelity:
    before, after = Counting(greets(), "base"), after or Counting(greets(always=True), "tuned")
    change = Change(Speaker(before), Speaker(after))
    if run is not None:
        return match.measure(change, text, tasks, run, config, env)
    with Run.temporary({"seed": 3}) as run:
        return match.measure(change, text, tasks, run, config, env)


def test_the_true_text_recovers_all_and_its_nulls_nothing() -> None:
    found = measured("greet the user")
    share = found.share("match")
    assert found.changed and found.kl is None and found.match is not None
    assert share is not None and share.value is not None
    assert share.value.value == pytest.approx(1.0, abs=0.2)
    assert len(share.unrelated) == 4 and len(share.random) == 2 and len(share.shuffled) == 1
    assert max(map(abs, (*share.unrelated, *share.random))) < 0.35
    assert share.shuffled[0] > 0.7  # the words in another order greet, too
    assert found.match.told["base"].value > 0.95
    assert found.match.told["base + text"].value == pytest.approx(0.5, abs=0.25)
    assert found.match.told["tuned"].value == pytest.approx(0.5, abs=0.25)
    assert min(found.match.told_unrelated) > 0.9
    assert "agreement" not in str(found) and "match recovered" in str(found)


def test_a_text_without_effect_recovers_nothing() -> None:
    share = measured("be well").share("match")
    assert share is not None and share.value is not None
    assert abs(share.value.value) < 0.3


@pytest.mark.parametrize("same", [True, False])
def test_a_pair_that_answers_alike_has_no_share(same: bool) -> None:
    """Whether it is one model, or another one that says the same in draws of its own."""
    found = measured("greet the user", after=Counting(greets(), "base" if same else "another"))
    assert not found.changed
    assert not found.shares
    assert found.match is not None and found.match.chance > LEVEL
    assert "nothing measurable changed: the gap in likeness" in str(found)


def test_without_unrelated_texts_there_is_no_share() -> None:
    found = measured("greet the user", config=CONFIG.model_copy(update={"unrelated": 0}))
    assert found.changed
    assert [share.value for share in found.shares] == [None]
    assert any("no unrelated text" in note for note in found.notes)


@pytest.mark.medium
def test_neither_the_order_of_tasks_nor_the_size_of_a_batch_matters() -> None:
    def bare(found: Fidelity) -> dict[str, object]:
        return found.model_dump(exclude={"usage"})

    whole = measured("greet the user")
    assert bare(measured("greet the user", tasks=TASKS[::-1])) == bare(whole)
    for batch in (1, 7, 64):
        assert bare(measured("greet the user", config=CONFIG.model_copy(update={"batch": batch}))) == bare(whole)


@pytest.mark.medium
def test_a_run_that_is_done_draws_nothing_and_one_cut_off_goes_on(tmp_path) -> None:
    for name in ("whole", "cut"):
        with Run.open(tmp_path / name, {"seed": 3}) as run:
            if name == "cut":
                measured("greet the user", run=run, config=CONFIG.model_copy(update={"unrelated": 1}))
            measured("greet the user", run=run)
    assert all("fidelity" in key or "stage" in key for key in differing_keys(tmp_path / "whole", tmp_path / "cut"))
    with Run.open(tmp_path / "whole", {"seed": 3}) as run:
        silent = Counting(lambda *_: pytest.fail("asked again"), "tuned")  # type: ignore[arg-type,return-value]
        assert measured("greet the user", after=silent, run=run).share("match") is not None


class Greeted:
    """Pays one for a greeting."""

    name, rewarded, identity = "greeted", True, "greeted"

    def tasks(self, split):
        return TASKS

    def rate(self, tasks, answers):
        return [Score(value=float("hello" in answer)) for answer in answers]


@pytest.mark.medium
def test_what_a_rater_says_is_compared_too() -> None:
    found = measured("greet the user", env=Greeted())
    share = found.share("reward")
    assert share is not None and share.value is not None
    assert share.value.value == pytest.approx(1.0)
    assert {name: round(value.value, 6) for name, value in found.rewards.items()} == {
        "base: proxy": 0.0,
        "tuned: proxy": 1.0,
        "base + text: proxy": 1.0,
    }


def test_failed_answers_are_counted_and_left_out() -> None:
    class Failing(Counting):
        def generate(self, conversations, sampling):
            drawn = super().generate(conversations, sampling)
            return [
                Generation(failure="model: gone") if "that" in one.answer and "hello" in one.answer else one
                for one in drawn
            ]

    found = measured("greet the user", after=Failing(greets(always=True), "tuned"))
    assert found.changed
    assert any("answers of the tuned model failed" in note for note in found.notes)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(UserError, match="at least two answers"):
        measured("x", config=CONFIG.model_copy(update={"answers": 1}))
    with pytest.raises(UserError, match="two different tasks"):
        measured("x", tasks=TASKS[:1])
