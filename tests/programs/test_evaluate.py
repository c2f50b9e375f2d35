"""Running and rating: failures are recorded, never rated, and never 0."""

from collections.abc import Sequence

import pytest

from scrutable.core.errors import UserError
from scrutable.core.records import Candidate, Conversation, Sampling, Score, Split, Task
from scrutable.envs.base import DRAW, drawn
from scrutable.models.replay import ScriptedModel
from scrutable.programs.evaluate import evaluate
from scrutable.programs.text import SingleText

TASKS = [Task.ask("a"), Task.ask("bad"), Task.ask("c")]
CANDIDATE = Candidate(texts={"text": "T"})


class Lengths:
    """An environment that rewards by length, and notes what it was asked to rate."""

    name, identity, rewarded = "lengths", "lengths", True

    def __init__(self) -> None:
        self.rated: list[tuple[str, str]] = []

    def tasks(self, split: Split) -> Sequence[Task]:
        return TASKS

    def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        self.rated += [(task.prompt, answer) for task, answer in zip(tasks, answers, strict=True)]
        return [Score(value=float(len(answer))) for answer in answers]


def script(conversation: Conversation) -> str:
    if conversation[-1].content == "bad":
        raise ValueError("no answer")
    return conversation[0].content + conversation[-1].content


def test_each_task_is_run_and_rated_in_order() -> None:
    env = Lengths()
    found = evaluate(SingleText(), CANDIDATE, ScriptedModel(script), env, [TASKS[0], TASKS[2]], Sampling(), repeat=2)
    assert [(r.answer, r.score.value) for r in found] == [("Ta", 2.0), ("Tc", 2.0)]
    assert [r.task for r in found] == [TASKS[0].key, TASKS[2].key]
    assert {(r.candidate, r.repeat, r.failure) for r in found} == {(CANDIDATE.key, 2, None)}


def test_a_failed_answer_never_reaches_the_rater_and_has_no_score() -> None:
    env = Lengths()
    found = evaluate(SingleText(), CANDIDATE, ScriptedModel(script), env, TASKS, Sampling())
    assert env.rated == [("a", "Ta"), ("c", "Tc")]
    assert found[1].failure == "model: ValueError: no answer"
    assert found[1].score == Score()
    assert found[1].score.value is None


def test_a_rater_that_breaks_is_recorded_at_each_task(monkeypatch: pytest.MonkeyPatch) -> None:
    env = Lengths()
    for broken in (lambda t, a: 1 / 0, lambda t, a: [Score(value=1.0)] * 9):
        monkeypatch.setattr(env, "rate", broken)
        found = evaluate(SingleText(), CANDIDATE, ScriptedModel(script), env, TASKS, Sampling())
        assert [r.score.value for r in found] == [None, None, None]
        assert [len(r.score.failures) for r in found] == [1, 0, 1]
        assert found[0].score.failures[0].startswith("reward: ")
        assert found[0].answer == "Ta"


def test_what_the_user_must_mend_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def pointless(tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        raise UserError("mend it")

    env = Lengths()
    monkeypatch.setattr(env, "rate", pointless)
    with pytest.raises(UserError, match="mend it"):
        evaluate(SingleText(), CANDIDATE, ScriptedModel(script), env, TASKS, Sampling())


def test_prompts_without_a_reward_are_not_rated(monkeypatch: pytest.MonkeyPatch) -> None:
    env = Lengths()
    monkeypatch.setattr(env, "rewarded", False)
    found = evaluate(SingleText(), CANDIDATE, ScriptedModel(script), env, TASKS, Sampling())
    assert env.rated == []
    assert [r.score.value for r in found] == [None] * 3


def test_a_candidate_without_a_text_is_refused() -> None:
    with pytest.raises(UserError, match="no text for text"):
        evaluate(SingleText(), Candidate(texts={"other": "T"}), ScriptedModel(script), Lengths(), TASKS, Sampling())


def test_no_tasks_no_rollouts() -> None:
    assert evaluate(SingleText(), CANDIDATE, ScriptedModel(script), Lengths(), [], Sampling()) == []


def test_repeats_draw_with_seeds_of_their_own() -> None:
    seeds: list[int] = []

    class Seeing(ScriptedModel):
        def generate(self, conversations, sampling):
            seeds.append(sampling.seed)
            return super().generate(conversations, sampling)

    for repeat in (0, 1, 2, 1):
        evaluate(SingleText(), CANDIDATE, Seeing(script), Lengths(), TASKS, Sampling(seed=5), repeat=repeat)
    assert seeds[0] == 5
    assert len(set(seeds)) == 3
    assert seeds[1] == seeds[3]


class Chancy(Lengths):
    """An environment whose rater draws, and notes the draws."""

    stochastic = True

    def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        self.draws = [task.columns[DRAW] for task in tasks]
        return super().rate(tasks, answers)


def test_a_rater_that_draws_draws_anew_for_each_place_seed_and_repeat_and_the_same_again() -> None:
    def draws(seed: int, repeat: int) -> list[object]:
        env = Chancy()
        found = evaluate(
            SingleText(), CANDIDATE, ScriptedModel(script), env, [TASKS[0]] * 3, Sampling(seed=seed), repeat
        )
        assert {one.task for one in found} == {TASKS[0].key}
        return list(env.draws)

    seen = [draw for seed in (1, 2) for repeat in (0, 1) for draw in draws(seed, repeat)]
    assert len(set(map(str, seen))) == len(seen) == 12
    assert draws(1, 1) == draws(1, 1)


def test_a_failed_answer_does_not_move_the_draws_of_the_others() -> None:
    env, whole = Chancy(), Chancy()
    evaluate(SingleText(), CANDIDATE, ScriptedModel(script), env, TASKS, Sampling())
    evaluate(SingleText(), CANDIDATE, ScriptedModel(script), whole, [TASKS[0], TASKS[0], TASKS[2]], Sampling())
    assert env.draws == [whole.draws[0], whole.draws[2]]


def test_a_rater_that_does_not_draw_is_handed_the_tasks_as_they_are() -> None:
    assert drawn(Lengths(), TASKS, 3) is TASKS
