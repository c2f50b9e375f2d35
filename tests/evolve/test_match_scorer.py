"""The score by likeness of answers: proper, whatever the batch, and data where something failed."""

from random import Random
from statistics import fmean

import pytest
from tests.measure.counting import Counting

from scrutable.core.records import Candidate, Generation, Sampling, Task
from scrutable.evolve.ledger import Cell, Scorer
from scrutable.evolve.match_scorer import MatchScorer
from scrutable.measure.change import Speaker
from scrutable.measure.likeness import likeness

TASKS = [Task.ask(f"what is {number} ?") for number in range(40)]
TUNED = {task.key: [Random(f"{task.key}/{i}").choice(("yes", "yes", "no")) for i in range(4)] for task in TASKS}


def says(text: str, task: str, draws: Random) -> str:
    """Told "mix" it speaks as the tuned model; told "always", its commonest answer; else something else."""
    return draws.choice(("yes", "yes", "no")) if "mix" in text else "yes" if "always" in text else "hm"


def scorer(tuned=TUNED, say=says, draws: int = 2) -> MatchScorer:
    return MatchScorer(Speaker(Counting(say)), tuned, "good .", Sampling(), draws)


def cells(text: str) -> list[Cell]:
    one = Candidate(texts={"text": text})
    return [Cell(one, one.key, task.key, task) for task in TASKS]


def test_it_is_a_scorer() -> None:
    assert isinstance(scorer(), Scorer)


def test_who_speaks_alike_scores_highest_although_another_is_liker() -> None:
    means, alike = {}, {}
    for text in ("", "mix", "always"):
        found = scorer(draws=4).score(cells(text), 0)
        means[text] = fmean(one.score.value for one in found if one.score.value is not None)
        alike[text] = fmean(likeness(one.answer, said) for one in found for said in TUNED[one.task])
    assert alike["always"] > alike["mix"] > alike[""]
    assert means["mix"] > means["always"] + 0.05 > means[""] + 0.5
    assert abs(means["mix"]) < 0.1


def test_the_size_of_a_batch_and_the_order_of_cells_do_not_matter() -> None:
    whole = {one.task: one.score for one in scorer().score(cells("mix"), 0)}
    apart, model = {}, scorer()
    for cell in reversed(cells("mix")):
        (one,) = model.score([cell], 5)
        apart[one.task] = one.score
    assert apart == whole


def test_what_failed_has_no_score() -> None:
    class Failing(Counting):
        def generate(self, conversations, sampling):
            return [Generation(failure="model: gone") for _ in conversations]

    (one, *_) = MatchScorer(Speaker(Failing(says)), TUNED, "", Sampling()).score(cells("mix"), 0)
    assert (one.score.value, one.failure) == (None, "model: gone")
    (one, *_) = scorer(tuned={TASKS[0].key: ["yes"]}).score(cells("mix"), 0)
    assert one.score.value is None and "cannot be used" in (one.failure or "")


def test_its_identity_is_that_of_answers_before_and_draws() -> None:
    known = scorer().identity
    assert scorer().identity == known
    others = [scorer(draws=3), scorer(tuned={**TUNED, TASKS[0].key: ["yes", "hm"]})]
    others.append(MatchScorer(Speaker(Counting(says, "another")), TUNED, "good .", Sampling()))
    assert known not in {one.identity for one in others}
    assert len({one.identity for one in others}) == 3


def test_the_most_that_a_call_costs_is_bounded() -> None:
    most = scorer().most(cells("mix"))
    assert most.generations == 2 * len(TASKS)
    assert most.prompt_tokens >= 2 * sum(len(task.prompt) for task in TASKS)
    assert most.answer_tokens == pytest.approx(2 * 64 * len(TASKS))
