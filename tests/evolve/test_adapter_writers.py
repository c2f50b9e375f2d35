"""Writers over an adapter: each is shown what the adapter shows, of the component that is rewritten and of no other."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from scrutable.core.errors import ProposerFailure, UserError
from scrutable.core.records import Message, Sampling
from scrutable.evolve.adapter_writers import DatasetWriter, FunctionModel, ShownWriter, items_of, writer_for
from scrutable.evolve.reflection import Item, Proposal

RECORD = {"Inputs": {"question": "why ?"}, "Generated Outputs": "so", "Feedback": "wrong", "score": 0.5}
OTHER = {"Inputs": "grade it", "Generated Outputs": "7", "Feedback": "too much"}


def shown(**records: Sequence[Mapping[str, Any]]) -> Item:
    return Item(prompt="the task with its secret", answer="all", score=0.5, feedback=json.dumps(records))


class Seen:
    items = 4

    def __init__(self) -> None:
        self.seen: list[Item] = []

    def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
        self.seen = list(items)
        return Proposal(texts=("new",), votes=(1,))


def test_a_record_is_an_item_and_what_is_beside_the_usual_is_feedback() -> None:
    (item,) = items_of(shown(a=[RECORD]), "a")
    assert item == Item(prompt="question: why ?", answer="so", score=0.5, feedback="wrong\nscore: 0.5")


def test_a_writer_sees_the_records_of_its_component_alone() -> None:
    inner = Seen()
    ShownWriter(inner).propose({"a": "", "b": ""}, "b", [shown(a=[RECORD], b=[OTHER, OTHER]), shown(a=[RECORD])], 0)
    assert [item.prompt for item in inner.seen] == ["grade it", "grade it"]
    assert "secret" not in str(inner.seen)


def test_where_nothing_is_shown_nobody_is_asked() -> None:
    inner = Seen()
    with pytest.raises(ProposerFailure, match="shows nothing to reflect on for 'a'"):
        ShownWriter(inner).propose({"a": ""}, "a", [shown(), Item(prompt="", answer="", feedback="no json")], 0)
    assert inner.seen == []


def test_a_proposer_of_gepas_interface_gets_the_dataset_as_it_was() -> None:
    asked: list[Any] = []

    def proposing(texts: dict[str, str], dataset: Mapping[str, Any], components: list[str]) -> dict[str, str]:
        asked.append((texts, dict(dataset), components))
        return {"a": "better"}

    found = DatasetWriter(proposing).propose({"a": "old"}, "a", [shown(a=[RECORD])], 0)
    assert found.texts == ("better",)
    assert asked == [({"a": "old"}, {"a": [RECORD]}, ["a"])]


@pytest.mark.parametrize("given", [{}, {"b": "x"}, {"a": ""}, {"a": 3}])
def test_no_text_is_a_failure(given: dict[str, Any]) -> None:
    with pytest.raises(ProposerFailure, match="no text for 'a'"):
        DatasetWriter(lambda *_: given).propose({"a": ""}, "a", [shown(a=[RECORD])], 0)


def test_a_proposer_that_raises_is_a_failure() -> None:
    with pytest.raises(ProposerFailure, match="ZeroDivisionError"):
        DatasetWriter(lambda *_: 1 // 0).propose({"a": ""}, "a", [shown(a=[RECORD])], 0)


def test_a_function_is_a_model_and_its_failures_are_data() -> None:
    model = FunctionModel(lambda prompt: prompt.upper() if prompt == "a" else 1 / 0)  # type: ignore[return-value]
    told = model.generate([(Message(role="user", content=one),) for one in "ab"], Sampling())
    assert [one.answer for one in told] == ["A", ""]
    assert told[1].failure == "model: ZeroDivisionError: division by zero"


def test_a_function_writes_in_english_from_what_the_adapter_shows() -> None:
    asked: list[str] = []

    def lm(prompt: str) -> str:
        asked.append(prompt)
        return "HYPOTHESIS: x\n```\nbe short\n```"

    found = writer_for(object(), lm).propose({"a": "old"}, "a", [shown(a=[RECORD])], 0)
    assert found.texts == ("be short",)
    assert "why ?" in asked[0]
    assert "secret" not in asked[0]


def test_an_adapter_may_write_itself_and_otherwise_somebody_must() -> None:
    class Writes:
        def propose_new_texts(self, *_: object) -> dict[str, str]:
            return {"a": "mine"}

    assert writer_for(Writes(), None).propose({"a": ""}, "a", [shown(a=[RECORD])], 0).texts == ("mine",)
    with pytest.raises(UserError, match="object proposes no texts of its own"):
        writer_for(object(), None)
