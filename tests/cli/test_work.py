"""What verbs that make a run say alike."""

from __future__ import annotations

import pytest

from scrutable.cli.screen import Screen
from scrutable.cli.work import note_unknown
from scrutable.core.records import Task
from scrutable.models.hf import load_model


@pytest.mark.medium
def test_prompts_in_words_that_the_model_does_not_know_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    model = load_model("pidgin")
    note_unknown(Screen(), model, [Task.ask("what is three plus four ?")])
    assert capsys.readouterr().err == ""
    note_unknown(Screen(), model, [Task.ask("what is 3 + 4 ?")])
    told = "note: pidgin does not know 50% of the words of the prompts: it cannot read them\n"
    assert capsys.readouterr().err == told
