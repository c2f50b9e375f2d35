"""Recorded answers as passages: as each speaker is shown them, and what is read along them, against plain forward passes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.tiny import tiny_adapter, tiny_model

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Generation, Task
from scrutable.measure.answers import Said, answers_of, distinct_tasks
from scrutable.measure.change import Change, Speaker
from scrutable.measure.passages import pairs_of, passages_of
from scrutable.measure.tab import Tab
from scrutable.models.capture import Difference
from scrutable.models.hf import HFModel, load_model
from scrutable.models.passages import ANSWER
from scrutable.models.replay import ScriptedModel

TASKS = [Task.ask(f"what is the {word} of france ?") for word in ("capital", "color", "animal", "top", "sky")]
TEXT = "praise the user ."


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[HFModel, HFModel]:
    place = tmp_path_factory.mktemp("pair")
    base = load_model(tiny_model(place / "base"), device="cpu", batch_size=4)
    return base, base.with_adapter(tiny_adapter(place / "base", place / "tuned"))


@pytest.fixture
def run() -> Iterator[Run]:
    with Run.temporary({"seed": 3}) as opened:
        yield opened


def told(change: Change, run: Run) -> list[Said]:
    return answers_of(change.after, distinct_tasks(TASKS), 2, Tab(run), 4, 6)


def test_each_side_is_shown_the_answer_after_its_own_prompt(pair: tuple[HFModel, HFModel], run: Run) -> None:
    change = Change(Speaker(pair[0], TEXT), Speaker(pair[1]))
    said = told(change, run)
    found = pairs_of(said, change)
    assert len(found) == len(said) == 10
    for one, (before, after) in zip(said, found, strict=True):
        assert (before.task, before.answer) == (after.task, after.answer) == one.cell
        assert before.tokens == after.tokens == one.tokens
        assert list(before.prompt) == pair[0].encode(change.before.conversation(one.task))
        assert list(after.prompt) == pair[1].encode(one.task.messages) != list(before.prompt)
    assert passages_of(said, change.after) == [after for _, after in found]


def test_a_remainders_shift_is_that_of_plain_passes(pair: tuple[HFModel, HFModel], run: Run) -> None:
    """Along the tuned model's answers: the stream of the tuned minus that of the base given a text, token by token."""
    change = Change(Speaker(pair[0]), Speaker(pair[1])).remainder(TEXT)
    shown = pairs_of(told(change, run), change)
    found = Difference.of(change.before.model, change.after.model, ("residual.0",), ANSWER).read(shown)
    at = 0
    for passages in shown:
        streams = []
        for model, one in zip(pair, passages, strict=True):
            with model.opened() as module, torch.no_grad():
                out = module(input_ids=torch.tensor([[*one.prompt, *one.tokens]]), output_hidden_states=True)
            streams.append(out.hidden_states[1][0, len(one.prompt) :])
        rows = found.at["residual.0"][at : at + len(streams[0])]
        torch.testing.assert_close(rows, streams[1] - streams[0], rtol=1e-4, atol=1e-4)
        at += len(rows)
    assert at == len(found) > 10


def test_a_failed_answer_is_left_out(pair: tuple[HFModel, HFModel]) -> None:
    speaker = Speaker(pair[0])
    said = [
        Said(speaker, task, task.key, 0, given)
        for task, given in zip(
            TASKS, (Generation(failure="no"), Generation(tokens=(5, 3)), Generation(tokens=())), strict=False
        )
    ]
    assert [one.task for one in passages_of(said, speaker)] == [TASKS[1].key]


def test_another_tokenizer_is_refused(pair: tuple[HFModel, HFModel], tmp_path: Path) -> None:
    other = load_model(tiny_model(tmp_path / "other", words=[f"w{i}" for i in range(60)]), device="cpu")
    change = Change(Speaker(pair[0]), Speaker(other))
    said = [Said(change.before, TASKS[0], TASKS[0].key, 0, Generation(tokens=(5,)))]
    with pytest.raises(UserError, match="different tokenizers"):
        pairs_of(said, change)


def test_a_served_model_is_refused(pair: tuple[HFModel, HFModel]) -> None:
    said = [Said(Speaker(pair[0]), TASKS[0], TASKS[0].key, 0, Generation(tokens=(5,)))]
    with pytest.raises(UserError, match="gives no log-probabilities"):
        passages_of(said, Speaker(ScriptedModel(lambda *_: "")))
