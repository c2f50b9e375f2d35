"""The amplified lens on a toy pair whose divergences are known in closed form."""

from pathlib import Path

import pytest
from tests.evolve.toy import rule
from tests.lenses.resuming import check_goes_on
from tests.lenses.toy_open import HIGH, ToyOpen, toy_tasks

from scrutable.core.accounts import Account
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Generation, Task
from scrutable.lenses.amplified import AmplifiedConfig, AmplifiedLens, openings
from scrutable.lenses.base import Lens
from scrutable.measure.change import Change, Speaker

ONE, OTHER = rule("sun", "yes"), rule("rain", "no")
TASKS = toy_tasks(120)
CONFIG = AmplifiedConfig(max_tokens=5, batch=120)


class Chat:
    """A chat model that always writes the same text, and remembers what it was asked."""

    name = identity = "chat"

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[str] = []

    def generate(self, conversations, sampling):
        self.asked += [one[-1].content for one in conversations]
        return [Generation(answer=f"HYPOTHESIS: so it is\n```\n{self.text}\n```") for _ in conversations]


def read(before: Speaker, after: Speaker, config: AmplifiedConfig = CONFIG, writer: Chat | None = None) -> Account:
    with Run.temporary({"seed": 0}) as run:
        return AmplifiedLens(config, writer).read(Change(before, after), TASKS, run)


def test_it_is_a_lens() -> None:
    assert isinstance(AmplifiedLens(), Lens)
    assert AmplifiedLens().name == "amplified"


@pytest.mark.medium
def test_two_rules_are_found_in_what_is_amplified(tmp_path: Path) -> None:
    account = read(Speaker(ToyOpen(folder=tmp_path)), Speaker(ToyOpen(f"{ONE} {OTHER}")))
    assert {claim.text for claim in account.claims} == {ONE, OTHER}


@pytest.mark.medium
def test_a_writer_is_shown_what_the_after_says_now_and_then_as_if_it_always_did() -> None:
    """3 in 10 times "yes", and never greedily; amplified it is said on every task."""
    writer = Chat(ONE)
    read(Speaker(ToyOpen()), Speaker(ToyOpen(habit=0.3)), writer=writer)
    first = writer.asked[0]
    assert first.count("The model's answer: yes - - - -") >= 5
    assert first.count("The assistant's own answer: - - - - -") >= 3  # a toy draws, and now and then says a word


@pytest.mark.medium
def test_what_amplified_answers_say_more_is_told_in_notes_and_to_a_chat_model() -> None:
    writer = Chat(ONE)
    account = read(Speaker(ToyOpen()), Speaker(ToyOpen(habit=0.3)), writer=writer)
    notes = [note for note in account.notes if note.startswith("amplified 4 times, it ")]
    assert notes and "yes" in notes[0]
    assert any("\n- it " in asked and "yes" in asked for asked in writer.asked)


@pytest.mark.medium
def test_a_sentence_that_only_the_exaggeration_obeys_is_not_claimed() -> None:
    """The after says "yes" 3 in 10 times: a text that lets the before say it 19 in 20 times is farther away than none."""
    assert HIGH == 0.95
    always = " ".join(rule(word, "yes") for word in ("sun", "moon", "rain", "snow", "wind", "fog", "hail", "mist"))
    assert not read(Speaker(ToyOpen()), Speaker(ToyOpen(habit=0.3)), writer=Chat(always)).claims


def test_of_an_unchanged_pair_nothing_is_claimed_and_nothing_amplified() -> None:
    writer = Chat(ONE)
    account = read(Speaker(ToyOpen()), Speaker(ToyOpen()), writer=writer)
    assert not account.claims and not writer.asked
    assert "nothing measurable changed" in account.notes[0]


@pytest.mark.medium
def test_openings_are_answered_too_where_a_chat_model_writes() -> None:
    writer = Chat(ONE)
    with Run.temporary({"seed": 0}) as run:
        lens = AmplifiedLens(CONFIG.model_copy(update={"openings": ("yes",), "shown": 8}), writer)
        lens.read(Change(Speaker(ToyOpen()), Speaker(ToyOpen(ONE))), TASKS, run)
        (opening,) = openings(lens.config)
        asked = [set(event.payload["asked"]) for event in run.events("amplified")]
    assert all(opening[0] in keys and len(keys) == 9 for keys in asked) and len(asked) == 2


def test_an_opening_is_an_answer_that_has_begun() -> None:
    ((_, task),) = openings(CONFIG.model_copy(update={"openings": ("Here is",)}))
    assert isinstance(task, Task)
    assert [(one.role, one.content) for one in task.messages][-1] == ("assistant", "Here is")


def test_a_pair_without_log_probabilities_is_refused() -> None:
    class Answers:
        name = identity = "served"

        def generate(self, conversations, sampling):
            return [Generation(answer="ok") for _ in conversations]

    with pytest.raises(UserError, match="gives no log-probabilities"):
        read(Speaker(Answers()), Speaker(Answers()))


@pytest.mark.medium
def test_the_cost_is_planned_and_told(tmp_path: Path) -> None:
    account = read(Speaker(ToyOpen(folder=tmp_path)), Speaker(ToyOpen(ONE)))
    planned = AmplifiedLens(CONFIG).planned(120)
    assert 0 < account.usage.forward_passes <= planned.forward_passes
    assert 120 < account.usage.generations <= planned.generations


@pytest.mark.medium
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_cut_off_after_any_event_it_goes_on_as_if_it_had_not_been(share: float, tmp_path: Path) -> None:
    def once(place: Path) -> Account:
        (tmp_path / "model").mkdir(exist_ok=True)
        change = Change(Speaker(ToyOpen(folder=tmp_path / "model")), Speaker(ToyOpen(ONE)))
        with Run.open(place, {"seed": 1}) as run:
            return AmplifiedLens(CONFIG).read(change, TASKS, run)

    check_goes_on(once, tmp_path, share)
