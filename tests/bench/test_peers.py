"""Peers: the real gepa runs on our environments with our writer, each rollout counted, and says what it would return when."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import pytest
from tests.evolve.toy import Guesser, ToyEnv, ToyModel, rule

from scrutable.bench.anytime import Trace
from scrutable.bench.peers import PeerConfig, Subject, run_gepa, validation_tasks
from scrutable.core.errors import ProposerFailure
from scrutable.core.records import Candidate, Conversation, Generation, Sampling, Score, Task
from scrutable.evolve.reflection import Item, Proposal
from scrutable.programs.evaluate import evaluate
from scrutable.programs.modules import Module, Pipeline
from scrutable.programs.text import TEXT, SingleText

HIDDEN = rule("sun", "yes")


class Whole(Guesser):
    """Guesses as the toy's writer, on top of the text it has; keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Item] = []

    def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
        self.shown += items
        found = super().propose(texts, module, items, seed)
        return found.model_copy(update={"texts": tuple(f"{texts[module]} {one}".strip() for one in found.texts)})


def subject(env: ToyEnv | None = None, writer: Guesser | None = None, model: ToyModel | None = None) -> Subject:
    return Subject(env or ToyEnv(HIDDEN), model or ToyModel(), SingleText(), Sampling(), writer or Whole())


SMALL = PeerConfig(validation=30)
GRID = PeerConfig(validation=30, parents=2, each=4, minibatch=5)


def test_only_its_own_settings_are_called_its_default() -> None:
    assert PeerConfig().name == SMALL.name == "gepa default"
    assert PeerConfig(minibatch=5).name == "gepa 1x1"
    assert GRID.name == "gepa 2x4"


@pytest.mark.parametrize("config", [SMALL, GRID])
def test_it_finds_the_rule_and_every_rollout_is_counted(config: PeerConfig) -> None:
    model = ToyModel()
    found = run_gepa(subject(model=model), 600, 1, config)
    assert sum(model.calls) == found.rollouts >= 600
    assert HIDDEN in found.steps[-1].texts[TEXT]
    assert found.accepted >= 1
    assert found.reflections >= 1


def test_the_same_seed_is_the_same_search_and_another_is_not() -> None:
    def ran(seed: int) -> Trace:
        return run_gepa(subject(), 300, seed, GRID)

    assert ran(1) == ran(1)
    assert ran(1) != ran(2)


def test_a_candidate_is_returned_from_when_its_validation_was_paid() -> None:
    """An independent count: the model's own calls up to the one in which the candidate was validated."""

    class Counting(ToyModel):
        paid: dict[str, int]

        def __init__(self) -> None:
            super().__init__()
            self.paid = {}

        def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Generation]:
            found = super().generate(conversations, sampling)
            if len(conversations) == 30:
                text = conversations[0][0].content if conversations[0][0].role == "system" else ""
                self.paid.setdefault(text, sum(self.calls))
            return found

    model = Counting()
    found = run_gepa(subject(model=model), 400, 3, SMALL)
    assert len(found.steps) >= 2
    assert found.steps[0].rollouts == 0
    assert [model.paid[step.texts[TEXT]] for step in found.steps[1:]] == [step.rollouts for step in found.steps[1:]]
    scores = [step.score for step in found.steps[1:] if step.score is not None]
    assert scores == sorted(scores)


def test_the_writer_sees_prompts_answers_and_remarks_of_search_tasks_alone() -> None:
    env, writer = ToyEnv(HIDDEN), Whole()
    run_gepa(subject(env, writer, ToyModel(noise=0.0)), 200, 0, SMALL)
    assert {item.prompt for item in writer.shown} <= {task.prompt for task in env.tasks("search")}
    assert {item.feedback for item in writer.shown} == {"good .", "bad : no yes ."}


def test_the_most_voted_text_is_taken_and_no_text_is_no_proposal() -> None:
    class Votes(Guesser):
        def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
            self.calls += 1
            if self.calls == 1:
                raise ProposerFailure("nothing")
            if self.calls == 2:
                return Proposal(failures=("cut off",))
            return Proposal(texts=(HIDDEN, "second"), votes=(5, 3))

    model = ToyModel(noise=0.0)
    found = run_gepa(subject(writer=Votes(), model=model), 120, 0, PeerConfig(validation=30, perfect=None))
    assert found.steps[-1].texts == {TEXT: HIDDEN}
    assert found.accepted == 1
    # Validation, three parents on three tasks, one child on three, its validation; then as often again.
    assert model.calls[:6] == [30, 3, 3, 3, 3, 30]


def test_what_could_not_be_scored_is_zero_to_it() -> None:
    class Silent(ToyEnv):
        def _rate(self, task: Task, answer: str) -> Score:
            return Score(value=None, failures=("reward: broken",))

    found = run_gepa(subject(Silent(HIDDEN)), 60, 0, SMALL)
    assert found.accepted == 0


def test_a_minibatch_that_is_perfect_is_not_reflected_on() -> None:
    """Nothing is wanted there and nothing is said: every score is 1."""
    given = subject(ToyEnv(""), model=ToyModel(noise=0.0))
    assert run_gepa(given, 60, 0, SMALL).reflections == 0
    assert run_gepa(given, 60, 0, SMALL.model_copy(update={"perfect": 1.5})).reflections > 0
    assert run_gepa(given, 60, 0, SMALL.model_copy(update={"perfect": None})).reflections > 0


def test_programs_of_several_texts_run_too() -> None:
    program = Pipeline((Module("first"), Module("second")))
    given = Subject(ToyEnv(HIDDEN), ToyModel(), program, Sampling(), Whole())
    found = run_gepa(given, 100, 0, SMALL)
    assert set(found.steps[-1].texts) == {"first", "second"}


def test_it_starts_from_the_text_it_is_given() -> None:
    assert run_gepa(subject(), 40, 0, SMALL, {TEXT: "be kind ."}).steps[0].texts == {TEXT: "be kind ."}


def test_validation_tasks_are_drawn_by_content_from_the_keep_split() -> None:
    env = ToyEnv(HIDDEN)
    drawn = validation_tasks(env, 20, 1)
    assert len({key for key, _ in drawn}) == 20
    assert {key for key, _ in drawn} <= {task.key for task in env.tasks("keep")}
    assert drawn == validation_tasks(env, 20, 1) != validation_tasks(env, 20, 2)
    env.tasks("keep").reverse()
    assert drawn == validation_tasks(env, 20, 1)


def test_it_says_nothing_and_writes_nothing(capfd: pytest.CaptureFixture[str], tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_gepa(subject(), 100, 0, GRID)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_the_score_it_saw_is_the_mean_on_its_validation() -> None:
    """With a model that never slips, the score of the last step is what an independent evaluation gives."""
    env, model = ToyEnv(HIDDEN), ToyModel(noise=0.0)
    last = run_gepa(subject(env, model=model), 300, 5, SMALL).steps[-1]
    tasks = [task for _, task in validation_tasks(env, 30, 5)]
    rollouts = evaluate(SingleText(), Candidate(texts=last.texts), model, env, tasks, Sampling())
    assert last.score == pytest.approx(fmean(one.score.value or 0.0 for one in rollouts))
