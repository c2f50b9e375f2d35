"""The catalog: names to things."""

from __future__ import annotations

from pathlib import Path

import pytest

from scrutable import catalog
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.train.rl import TrainConfig


@pytest.mark.parametrize("name", [*catalog.LENSES])
def test_every_lens_answers_to_its_name(name: str) -> None:
    assert catalog.open_lens(name).name == name


def test_an_unknown_lens_is_refused_with_a_hint() -> None:
    with pytest.raises(UserError, match="did you mean distill"):
        catalog.open_lens("distil")


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
