"""The catalog: names to things."""

from __future__ import annotations

from pathlib import Path

import pytest

from scrutable import catalog
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.measure.nulls import UNRELATED
from scrutable.organisms import lessons
from scrutable.train.rl import TrainConfig
from scrutable.world import grammar


class Speaks:
    """A model of which only the vocabulary is asked."""

    def __init__(self, words: list[str]) -> None:
        self.vocabulary = {word: at for at, word in enumerate(words)}


@pytest.mark.parametrize("name", [*catalog.LENSES])
def test_every_lens_answers_to_its_name(name: str) -> None:
    assert catalog.open_lens(name).name == name


def test_an_unknown_lens_is_refused_with_a_hint() -> None:
    with pytest.raises(UserError, match="did you mean distill"):
        catalog.open_lens("distil")


def test_a_model_of_other_words_has_plain_english_nulls() -> None:
    language = catalog.language_of(Speaks(["the", "a", "b"]))  # type: ignore[arg-type]
    assert language.unrelated == UNRELATED
    assert language.parses is None


def test_the_built_in_language_has_nulls_of_its_own_that_say_no_rule() -> None:
    language = catalog.language_of(Speaks(list(lessons.vocabulary())))  # type: ignore[arg-type]
    assert len(language.unrelated) == len(UNRELATED)
    assert all(not grammar.read(text)[0] for text in language.unrelated)
    assert {word for text in language.unrelated for word in text.split()} <= set(lessons.vocabulary())


def test_the_built_in_language_has_a_grammar() -> None:
    language = catalog.language_of(Speaks(list(lessons.vocabulary())))  # type: ignore[arg-type]
    assert language.parses is not None
    assert not language.parses("praise praise praise")


def test_the_recipe_of_an_adapter_is_read_from_its_run(tmp_path: Path) -> None:
    recipe = TrainConfig(steps=7, seed=3)
    with Run.open(tmp_path / "run", {"verb": "train", "train": recipe.identity()}) as run:
        place = run.path / "artifacts" / "train" / "adapter"
        place.mkdir(parents=True)
        run.append("train/result", "result", {"best_step": 5})
    assert catalog.recipe_of(str(place)) == (recipe, 5)


def test_twins_of_an_adapter_from_elsewhere_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="twins need the recipe"):
        catalog.twins_of(str(tmp_path / "adapter"), 2)


def test_no_twins_need_no_recipe(tmp_path: Path) -> None:
    assert catalog.twins_of(str(tmp_path), 0)(None, None, None) == []  # type: ignore[arg-type]
