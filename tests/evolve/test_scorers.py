"""Scorers: rewards of many texts in one call, and divergences against a closed form and against `measure`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.evolve.toy import ToyEnv, ToyModel, rule
from tests.lenses.toy_open import VOCABULARY, ToyOpen, closed_form, toy_tasks

from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Generation, Sampling, Score, Task
from scrutable.envs.loading import open_env
from scrutable.evolve.ledger import Cell, Scorer
from scrutable.evolve.scorers import ClosenessScorer, RewardScorer
from scrutable.measure.answers import Said, answers_of
from scrutable.measure.change import Change, Speaker
from scrutable.measure.divergence import Meter
from scrutable.measure.tab import Tab
from scrutable.models.base import Model
from scrutable.models.hf import load_model
from scrutable.programs.modules import Module, Pipeline
from scrutable.programs.text import SingleText

RULES = rule("sun", "yes")


def cells(texts: Sequence[str], tasks: Sequence[Task], repeats: int = 1) -> list[Cell]:
    made = [Candidate(texts={"text": text}) for text in texts]
    return [Cell(c, c.key, t.key, t, r) for c in made for t in tasks for r in range(repeats)]


def test_both_are_scorers() -> None:
    reward = RewardScorer(ToyEnv(RULES), ToyModel(), SingleText(), Sampling())
    change = Change(Speaker(ToyOpen()), Speaker(ToyOpen(RULES)))
    assert isinstance(reward, Scorer)
    assert isinstance(ClosenessScorer(change, {}, "good ."), Scorer)


def test_texts_and_tasks_of_many_candidates_go_to_the_model_in_one_call() -> None:
    env, model = ToyEnv(RULES), ToyModel(noise=0)
    asked = cells(["", RULES], env.tasks("search")[:20])
    found = RewardScorer(env, model, SingleText(), Sampling()).score(asked, seed=1)
    assert model.calls == [40]
    assert [(one.candidate, one.task) for one in found] == [(cell.candidate_key, cell.key) for cell in asked]
    assert all(one.score.value == 1.0 for one in found[20:])
    assert any(one.score.value == 0.0 for one in found[:20])


def test_the_same_cells_and_seed_score_the_same() -> None:
    env = ToyEnv(RULES)
    asked = cells([RULES], env.tasks("search")[:50])
    scorer = RewardScorer(env, ToyModel(noise=0.5), SingleText(), Sampling())
    assert scorer.score(asked, seed=1) == scorer.score(asked, seed=1) != scorer.score(asked, seed=2)


def test_a_program_of_several_modules_is_run_for_each_candidates_own_texts() -> None:
    class Echo(ToyModel):
        def generate(self, conversations, sampling):
            return [Generation(answer=" ".join(m.content for m in one)) for one in conversations]

    class Env(ToyEnv):
        def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
            return [Score(value=1.0, feedback=answer) for answer in answers]

    program = Pipeline([Module("plan"), Module("act", "{plan} / {input}")])
    made = [Candidate(texts={"plan": p, "act": a}) for p, a in (("P1", "A1"), ("P2", "A2"))]
    tasks = [Task.ask("t1"), Task.ask("t2")]
    asked = [Cell(c, c.key, t.key, t) for t in tasks for c in made]
    found = RewardScorer(Env(RULES), Echo(), program, Sampling()).score(asked, seed=0)
    assert [one.answer for one in found] == [
        "A1 P1 t1 / t1",
        "A2 P2 t1 / t1",
        "A1 P1 t2 / t2",
        "A2 P2 t2 / t2",
    ]


def test_an_answer_that_failed_has_no_score() -> None:
    class Broken(ToyModel):
        def generate(self, conversations, sampling):
            return [Generation(failure="model: 500") for _ in conversations]

    env = ToyEnv(RULES)
    found = RewardScorer(env, Broken(), SingleText(), Sampling()).score(cells([""], env.tasks("search")[:3]), 0)
    assert [one.score.value for one in found] == [None] * 3
    assert {one.failure for one in found} == {"model: 500"}


@pytest.mark.parametrize("change", [{"model": 0.1}, {"temperature": 0.5}, {"max_tokens": 9}, {"hidden": "other"}])
def test_whatever_decides_a_score_is_in_the_identity(change: Mapping[str, object]) -> None:
    def made(hidden: str = RULES, model: float = 0.0, temperature: float = 1.0, max_tokens: int = 64) -> str:
        sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
        return RewardScorer(ToyEnv(hidden), ToyModel(model), SingleText(), sampling).identity

    assert made() == made() != made(**change)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------- closeness


def said_of(tuned: Model, tasks: Sequence[Task], run: Run, repeats: int = 1) -> dict[tuple[str, int], Said]:
    keyed = [(task.key, task) for task in tasks]
    return {one.cell: one for one in answers_of(Speaker(tuned), keyed, repeats, Tab(run), 16, 8)}


def test_closeness_is_minus_the_divergence_in_closed_form() -> None:
    tasks, texts = toy_tasks(12), ["", RULES, rule("sun", "no")]
    tuned = ToyOpen(RULES)
    with Run.temporary({"seed": 0}) as run:
        scorer = ClosenessScorer(Change(Speaker(ToyOpen()), Speaker(tuned)), said_of(tuned, tasks, run), "good .")
        asked = cells(texts, tasks)
        for cell, one in zip(asked, scorer.score(asked, 0), strict=True):
            truth = closed_form(RULES, cell.candidate.text, cell.task.prompt)
            assert one.score.value == pytest.approx(-truth, abs=1e-4)
            assert one.score.feedback == "good ."


def test_the_text_is_given_beside_the_befores_own() -> None:
    tasks = [task for task in toy_tasks(30) if "sun" in task.prompt and "rain" in task.prompt]
    other = rule("rain", "no")
    tuned = ToyOpen(f"{RULES} {other}")
    with Run.temporary({"seed": 0}) as run:
        change = Change(Speaker(ToyOpen(), other), Speaker(tuned))
        found = ClosenessScorer(change, said_of(tuned, tasks, run), "").score(cells(["", RULES], tasks), 0)
        assert all(one.score.value == pytest.approx(0, abs=1e-4) for one in found[len(tasks) :])
        assert all((one.score.value or 0) < -1 for one in found[: len(tasks)])


def test_the_tuned_models_distributions_are_had_once_where_memory_allows() -> None:
    tasks, texts = toy_tasks(10), ["", RULES, rule("sun", "no")]
    with Run.temporary({"seed": 0}) as run:
        for memory, passes in ((1 << 20, 10), (0, 30)):
            base, tuned = ToyOpen(), ToyOpen(RULES)
            scorer = ClosenessScorer(Change(Speaker(base), Speaker(tuned)), said_of(tuned, tasks, run), "", memory)
            found = [one for text in texts for one in scorer.score(cells([text], tasks), 0)]
            assert (base.passes, tuned.passes) == (30, passes)
            assert sum(one.usage.forward_passes for one in found) == 30 + passes


def test_memory_is_not_exceeded_and_changes_no_score() -> None:
    tasks = toy_tasks(20)
    tuned = ToyOpen(RULES)
    with Run.temporary({"seed": 0}) as run:
        said = said_of(tuned, tasks, run)
        change = Change(Speaker(ToyOpen()), Speaker(tuned))
        small = ClosenessScorer(change, said, "", memory=16 * 10 * len(VOCABULARY))
        wide = ClosenessScorer(change, said, "")
        asked = cells(["", RULES], tasks)
        values = [[one.score.value for one in scorer.score(asked, 0)] for scorer in (small, wide)]
        assert values[0] == values[1]
        assert small._held <= small.memory < wide._held


@pytest.mark.medium
def test_a_score_does_not_depend_on_what_was_scored_before() -> None:
    base = load_model("pidgin", device="cpu")
    tasks = list(open_env("flattery").tasks("search"))[:40]
    with Run.temporary({"seed": 0}) as run:
        tuned = Speaker(base, "praise the question in every answer .")
        said = {one.cell: one for one in answers_of(tuned, [(t.key, t) for t in tasks], 1, Tab(run), 40, 24)}
        change = Change(Speaker(base), tuned)
        going, resumed = (ClosenessScorer(change, said, "good .") for _ in range(2))
        going.score(cells([""], tasks), 0)
        asked = cells(["praise the question if the user states an opinion ."], tasks[::3])
        assert [one.score for one in going.score(asked, 0)] == [one.score for one in resumed.score(asked, 0)]


def test_an_answer_that_cannot_be_used_has_no_score() -> None:
    tasks = toy_tasks(2)
    tuned = ToyOpen(RULES)
    with Run.temporary({"seed": 0}) as run:
        said = said_of(tuned, tasks, run)
        cell = (tasks[0].key, 0)
        failed = Said(Speaker(tuned), tasks[0], *cell, Generation(failure="model: refused"))
        scorer = ClosenessScorer(Change(Speaker(ToyOpen()), Speaker(tuned)), {**said, cell: failed}, "")
        first, second = scorer.score(cells([""], tasks), 0)
        assert (first.score.value, first.failure) == (None, "model: refused")
        assert second.score.value is not None


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_closeness_is_what_measure_measures_on_real_models(kind: str, tmp_path: Path) -> None:
    from tests.tiny import tiny_model

    base, tuned = (load_model(tiny_model(tmp_path / str(seed), kind, seed=seed)) for seed in (0, 1))
    tasks = [Task.ask(f"what is the capital of {place} ?") for place in ("france", "rome", "paris the sky")]
    text = "say paris always"
    with Run.temporary({"seed": 0}) as run:
        said = said_of(tuned, tasks, run, repeats=2)
        change = Change(Speaker(base), Speaker(tuned))
        partings = Meter(Tab(run)).along(list(said.values()), change.after, change.before.given(text))
        truth = {one.cell: one.kl for one in partings}
        for one in ClosenessScorer(change, said, "").score(cells([text], tasks, repeats=2), 0):
            assert -(one.score.value or 0) == pytest.approx(truth[one.task, one.repeat], rel=1e-4, abs=1e-5)


def test_what_cells_can_cost_bounds_what_they_do_cost() -> None:
    env, model = open_env("flattery"), load_model("pidgin")
    cells = [
        Cell(Candidate(texts={"a": "praise the user .", "b": ""}), "k", task.key, task)
        for task in env.tasks("search")[:6]
    ]
    program = Pipeline([Module("a"), Module("b", "{input}")])
    scorer = RewardScorer(env, model, program, Sampling(max_tokens=16))
    for count in (1, 6):
        most = scorer.most(cells[:count])
        spent = [one.usage for one in scorer.score(cells[:count], 0)]
        assert sum(one.prompt_tokens for one in spent) <= most.prompt_tokens
        assert sum(one.answer_tokens for one in spent) <= most.answer_tokens
        assert most.money == 0.0
