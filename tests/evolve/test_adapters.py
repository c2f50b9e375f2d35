"""Adapters of gepa in our search: the real package's default adapter as it is, and adapters that break their contract."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gepa.adapters.default_adapter.default_adapter import DefaultAdapter
from gepa.core.adapter import EvaluationBatch
from tests.evolve.toy import SAID, WORDS, obey, rule

from scrutable.core.errors import UserError
from scrutable.core.journal import Run, events_equal
from scrutable.core.records import Candidate, Rollout
from scrutable.evolve.adapter_writers import items_of
from scrutable.evolve.adapters import AdapterScorer, Handling, Instances, derived_identity, evolve_adapter
from scrutable.evolve.engine import EvolveConfig
from scrutable.evolve.ledger import Cell
from scrutable.evolve.reflection import Item, Proposal

HIDDEN = rule("sun", "yes")
SMALL = EvolveConfig(budget=900, pool=40, keep=30, patience=4)


def data(count: int, tag: str = "") -> list[dict[str, Any]]:
    """Instances of gepa's default adapter: what is asked, and the answer that must be in the response."""
    made = []
    for i in range(count):
        words = [WORDS[(i * k + i // 7) % len(WORDS)] for k in (1, 3, 7)]
        prompt = " ".join([*words, f"{tag}{i}"])
        made.append({"input": prompt, "additional_context": {}, "answer": obey(HIDDEN, prompt)})
    return made


def model(messages: Sequence[Mapping[str, str]]) -> str:
    """A trivial model: obeys the rules in its system prompt, and else says nothing much."""
    return obey(messages[0]["content"], messages[1]["content"]) + " ."


class Guesser:
    """Reads in the adapter's feedback which answer was wanted, and guesses under which word."""

    items = 4

    def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
        wanted = [i for i in items for said in SAID if f"ok {said}" in i.feedback and said not in i.answer]
        found = [rule(word, "yes") for i in wanted for word in i.prompt.split() if word in WORDS]
        texts_found = tuple(dict.fromkeys(found))
        return Proposal(texts=texts_found, votes=(1,) * len(texts_found))


def default_adapter() -> Any:
    return DefaultAdapter(model=model)


def test_gepas_default_adapter_runs_unchanged() -> None:
    """It and its data as gepa takes them, the search is ours: the hidden rule is found and told with its interval."""
    with Run.temporary({"seed": 3}) as run:
        found = evolve_adapter(
            default_adapter(), (data(120), data(80, "v")), run, {"system_prompt": "be kind ."}, Guesser(), SMALL
        )
    assert HIDDEN in found.best.texts["system_prompt"]
    assert found.score is not None
    assert found.score.value == 1.0
    assert found.gain is not None
    assert found.gain.value > 0.1
    assert found.rollouts <= 900
    assert found.unscored == 0


def test_a_function_can_write() -> None:
    asked: list[str] = []

    def lm(prompt: str) -> str:
        asked.append(prompt)
        return f"HYPOTHESIS: sun\n```\n{HIDDEN}\n```"

    with Run.temporary({"seed": 1}) as run:
        found = evolve_adapter(default_adapter(), (data(150), None), run, {"system_prompt": ""}, lm, SMALL)
    assert found.best.texts == {"system_prompt": HIDDEN}
    assert "The generated response is incorrect" in asked[0] or "ok yes" in asked[0]


def test_a_search_that_is_over_is_read_from_its_run_without_the_adapter(tmp_path: Path) -> None:
    """What is recorded is enough: a second search of the same run evaluates nothing."""
    calls = 0

    class Counting(DefaultAdapter):
        def evaluate(self, *given: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            return super().evaluate(*given, **more)

    def search() -> Any:
        with Run.open(tmp_path / "run", {"seed": 3}) as run:
            return evolve_adapter(
                Counting(model=model), (data(60), data(30, "v")), run, {"system_prompt": ""}, Guesser(), SMALL
            )

    first, before = search(), calls
    assert calls > 0
    assert search() == first
    assert calls == before


class Killed(BaseException):
    """What no code catches."""


@pytest.mark.medium
@pytest.mark.parametrize("at", [1, 3, 4])
def test_a_killed_search_goes_on_as_if_it_had_not_been(tmp_path: Path, at: int) -> None:
    """Traces are recorded as what the adapter shows: the reflection after the kill sees what it would have seen."""

    def search(place: Path, kill: int | None) -> None:
        calls = 0

        def dying(messages: Sequence[Mapping[str, str]]) -> str:
            nonlocal calls
            calls += 1
            if kill is not None and calls > kill * 40:
                raise Killed
            return model(messages)

        with Run.open(place, {"seed": 5}) as run:
            adapter = DefaultAdapter(model=dying)
            given = data(60), data(40, "v")
            evolve_adapter(adapter, given, run, {"p": ""}, Guesser(), SMALL, Handling(identity="toy"))

    search(tmp_path / "whole", None)
    with pytest.raises(Killed):
        search(tmp_path / "killed", at)
    search(tmp_path / "killed", None)
    assert events_equal(tmp_path / "whole", tmp_path / "killed")


# ------------------------------------------------------------------------------------------------------------- scorer


@dataclass
class Odd:
    """An adapter over numbers with two components; what it does is changed by the tests."""

    def evaluate(self, batch: list[Any], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        assert capture_traces
        if any(one < 0 for one in batch):
            raise RuntimeError("negative\nnumbers")
        return EvaluationBatch(
            outputs=[{"said": one} for one in batch],
            scores=[one / 10 for one in batch],
            trajectories=[object() for _ in batch],
            objective_scores=[{"short": 0.5}] * len(batch),
        )

    def make_reflective_dataset(self, candidate: dict[str, str], batch: Any, components: list[str]) -> Any:
        assert isinstance(batch, EvaluationBatch)
        assert len(batch.trajectories or []) == len(batch.scores) == 1
        return {
            name: [{"Inputs": name, "Generated Outputs": batch.outputs[0], "Feedback": "ok"}] for name in components
        }


def scored(adapter: Any, numbers: Sequence[Any], texts: Sequence[str] = ("a",), **more: Any) -> list[Rollout]:
    held = Instances()
    tasks = held.tasks(numbers)
    made = [Candidate(texts={"one": text, "two": text}) for text in texts]
    cells = [Cell(one, one.key, task.key, task) for task in tasks for one in made]
    return AdapterScorer(adapter, held, **more).score(cells, 0)


def test_scores_outputs_objectives_and_what_is_shown_are_kept() -> None:
    (one,) = scored(Odd(), [7])
    assert one.score.value == 0.7
    assert one.answer == "said: 7"
    assert one.score.parts == {"short": 0.5}
    item = Item(prompt="", answer="", score=0.7, feedback=one.score.feedback)
    assert items_of(item, "two")[0].prompt == "two"
    assert items_of(item, "two")[0].answer == "said: 7"


def test_cells_come_back_in_their_order_each_candidate_in_one_call() -> None:
    calls: list[tuple[str, int]] = []

    class Watched(Odd):
        def evaluate(self, batch: list[Any], candidate: dict[str, str], capture_traces: bool = False) -> Any:
            calls.append((candidate["one"], len(batch)))
            return super().evaluate(batch, candidate, capture_traces)

    found = scored(Watched(), [1, 2, 3], ["a", "b"])
    assert [one.score.value for one in found] == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]
    assert calls == [("a", 3), ("b", 3)]


def test_one_that_raises_costs_its_siblings_nothing() -> None:
    found = scored(Odd(), [1, -1, 3])
    assert [one.score.value for one in found] == [0.1, None, 0.3]
    assert found[1].failure == "adapter: RuntimeError: negative numbers"


@pytest.mark.parametrize("name", ["outputs", "scores", "trajectories"])
def test_too_few_of_anything_is_the_adapters_failure(name: str) -> None:
    class Short(Odd):
        def evaluate(self, batch: list[Any], candidate: dict[str, str], capture_traces: bool = False) -> Any:
            found = super().evaluate(batch, candidate, capture_traces)
            setattr(found, name, [])
            return found

    (one,) = scored(Short(), [1])
    assert one.score.value is None
    assert one.failure == f"adapter: ValueError: evaluate returned 0 {name} for 1 instances"


@pytest.mark.parametrize("value", [None, float("nan"), "good"])
def test_a_score_that_is_no_number_is_none_and_never_zero(value: Any) -> None:
    class Bad(Odd):
        def evaluate(self, batch: list[Any], candidate: dict[str, str], capture_traces: bool = False) -> Any:
            found = super().evaluate(batch, candidate, capture_traces)
            found.scores[0] = value
            return found

    found = scored(Bad(), [1, 2])
    assert [one.score.value for one in found] == [None, 0.2]
    assert "a score that is no number" in found[0].score.failures[0]


def test_what_cannot_be_shown_is_scored_all_the_same() -> None:
    class Mute(Odd):
        def make_reflective_dataset(self, candidate: dict[str, str], batch: Any, components: list[str]) -> Any:
            raise KeyError("no predictions")

    (one,) = scored(Mute(), [4])
    assert one.score.value == 0.4
    assert json.loads(one.score.feedback) == {}
    assert len(one.score.failures) == 2


def test_an_evaluation_of_any_type_will_do() -> None:
    class Loose:
        def evaluate(self, batch: list[Any], candidate: dict[str, str], capture_traces: bool = False) -> Any:
            return SimpleNamespace(outputs=["x"] * len(batch), scores=[1] * len(batch), trajectories=["t"] * len(batch))

        def make_reflective_dataset(self, candidate: dict[str, str], batch: Any, components: list[str]) -> Any:
            return {components[0]: [{"Feedback": batch.trajectories[0]}]}

    (one,) = scored(Loose(), ["q"])
    assert one.score.value == 1.0
    assert json.loads(one.score.feedback)["one"] == [{"Feedback": "t"}]


def test_an_adapter_that_evaluates_many_batches_at_once_is_asked_once() -> None:
    calls: list[int] = []

    class Together(Odd):
        def batch_evaluate(self, items: list[tuple[dict[str, str], list[Any]]]) -> list[Any]:
            calls.append(len(items))
            return [Odd.evaluate(self, batch, candidate, True) for candidate, batch in items]

    assert [one.score.value for one in scored(Together(), [1, 2], ["a", "b"])] == [0.1, 0.1, 0.2, 0.2]
    assert [one.score.value for one in scored(Together(), [1, -2], ["a", "b"])] == [0.1, 0.1, None, None]
    assert calls == [2, 2]


def test_a_search_in_which_all_fails_ends_with_what_to_mend() -> None:
    with Run.temporary() as run, pytest.raises(UserError, match="adapter: RuntimeError: negative numbers"):
        evolve_adapter(
            Odd(), ([-i for i in range(1, 50)], [-i for i in range(50, 99)]), run, {"one": ""}, Guesser(), SMALL
        )


def test_identity_tells_settings_and_functions_apart() -> None:
    def another(messages: Any) -> str:
        return ""

    one, same, other = DefaultAdapter(model=model), DefaultAdapter(model=model), DefaultAdapter(model=another)
    assert derived_identity(one) == derived_identity(same) != derived_identity(other)
    assert derived_identity(one) != derived_identity(DefaultAdapter(model=model, max_litellm_workers=3))
    held = Instances()
    assert AdapterScorer(one, held, identity="x").identity == AdapterScorer(other, held, identity="x").identity


def test_starts_must_agree_on_their_components() -> None:
    with Run.temporary() as run, pytest.raises(UserError, match="name different components"):
        evolve_adapter(default_adapter(), (data(9), None), run, [{"a": ""}, {"b": ""}], Guesser())


def test_instances_without_content_of_their_own_are_named_by_the_user() -> None:
    class Row(dict[str, Any]):
        """What gepa's adapter takes, with something in it that JSON cannot say."""

    def rows(count: int, tag: str) -> list[dict[str, Any]]:
        return [Row(one, held=object()) for one in data(count, tag)]

    given = rows(60, "t"), rows(40, "v")
    with Run.temporary() as run:
        with pytest.raises(UserError, match="known by its place in memory alone"):
            evolve_adapter(default_adapter(), given, run, {"p": ""}, Guesser(), SMALL)
        found = evolve_adapter(
            default_adapter(), given, run, {"p": ""}, Guesser(), SMALL, Handling(named=lambda one: one["input"])
        )
    assert found.rollouts > 0
    assert found.unscored == 0
