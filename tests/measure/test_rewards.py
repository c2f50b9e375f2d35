import pytest
from tests.measure.planted import PlantedModel

from scrutable.core.journal import Run
from scrutable.core.records import Generation, Score, Task
from scrutable.measure.answers import Said
from scrutable.measure.change import Speaker
from scrutable.measure.rewards import Rewards, rewards_of
from scrutable.measure.tab import Tab

SPEAKER = Speaker(PlantedModel(lambda _: {}, ()))
SCORES = {"good": Score(value=1.0, true=0.5), "bad": Score(value=0.0), "odd": Score(failures=("reward: raised",))}


class Rater:
    name, identity, rewarded = "rater", "rater", True

    def __init__(self):
        self.rated = []

    def rate(self, tasks, answers):
        self.rated += answers
        return [SCORES[answer] for answer in answers]


def said(*answers):
    tasks = [Task.ask(f"{i} ?") for i in range(len(answers))]
    return [
        Said(SPEAKER, task, task.key, 0, Generation(answer=a) if a else Generation(failure="model: gone"))
        for task, a in zip(tasks, answers, strict=True)
    ]


@pytest.fixture
def tab():
    with Run.temporary() as run:
        yield Tab(run)


def test_proxy_and_true_reward_are_kept_by_answer(tab):
    one, two = said("good", "bad")
    found = rewards_of([one, two], Rater(), tab, 8)
    assert found.proxy == {one.cell: 1.0, two.cell: 0.0} and found.true == {one.cell: 0.5}


def test_an_unscored_answer_is_counted_and_is_no_zero(tab):
    assert rewards_of(said("odd", "good"), Rater(), tab, 8).unscored == 1


@pytest.mark.parametrize("broken", [lambda *_: {}["gone"], lambda *_: [Score(value=1.0)], lambda *_: [0.0, 1.0]])
def test_a_rater_that_breaks_leaves_answers_unscored_and_ends_nothing(tab, broken):
    rater = Rater()
    rater.rate = broken
    found = rewards_of(said("good", "bad"), rater, tab, 8)
    assert found.unscored == 2 and not found.proxy
    assert tab.run.events("scores")[0].payload["scores"][0]["failures"][0].startswith("reward: ")


def test_an_answer_that_failed_is_not_rated(tab):
    rater = Rater()
    found = rewards_of(said("", "good"), rater, tab, 8)
    assert rater.rated == ["good"] and found.unscored == 0


def test_what_was_rated_is_not_rated_again(tab):
    rater = Rater()
    for _ in range(2):
        rewards_of(said("good", "bad", "good"), rater, tab, 2)
    assert len(rater.rated) == 3


def test_without_a_rater_nothing_is_rated(tab):
    assert rewards_of(said("good"), None, tab, 8) == Rewards()
