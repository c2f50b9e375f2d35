"""The factory: what is made stands in a run folder, goes on after a kill, and is opened by its part's name alone."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from tests.cut import cut_off

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.models.hf import load_model
from scrutable.organisms.planted import FILE, PlantConfig, Planted, groups, make
from scrutable.organisms.planted_part import figures, keep_apart, open_part, reading_tasks
from scrutable.organisms.planted_plan import KINDS
from scrutable.organisms.planted_recipe import ManyConfig

NONE = {kind.replace("-", "_"): 0 for kind in KINDS}
QUICK = ManyConfig(steps=2, answers=2, rounds=1)


def tiny(part: str = "building", **given: object) -> PlantConfig:
    return PlantConfig.model_validate(
        {**NONE, "part": part, "recipe": QUICK, "truth_tasks": 16, "workers": 1, "together": 2, **given}
    )


def test_groups_are_of_one_kind_and_hold_every_plan_once() -> None:
    found = groups(tiny(condition=5, twin=3, reward_hack=2))
    assert [(group.kind, len(group.plans)) for group in found] == [
        ("condition", 2),
        ("condition", 2),
        ("condition", 1),
        ("reward-hack", 1),
        ("reward-hack", 1),
        ("twin", 2),
        ("twin", 1),
    ]
    assert len({plan.name for group in found for plan in group.plans}) == 10


def test_an_unknown_kind_is_told_in_one_line() -> None:
    with pytest.raises(UserError, match="no kind of planted change is called 'rules': choose from always, condition"):
        groups(tiny(kinds=("rules",)))


@pytest.mark.medium
def test_a_part_that_was_killed_goes_on_and_comes_out_the_same(tmp_path: Path) -> None:
    whole, resumed = cut_off(partial(make, tiny(condition=2, identical=1)), tmp_path, events=2)
    assert whole == resumed and len(whole) == 3
    one, two = (open_part(tmp_path / name, "building") for name in ("whole", "killed"))
    assert [member.content for member in one.members] == [member.content for member in two.members]


@pytest.mark.medium
def test_what_was_made_is_opened_again_and_its_adapters_load(tmp_path: Path) -> None:
    config = tiny(always=1, edited_fact=1, identical=1)
    with Run.open(tmp_path / "run", {"seed": 1}) as run:
        said: list[str] = []
        made = make(config.model_copy(update={"kinds": ("always", "identical")}), run, said.append)
    part = open_part(tmp_path / "run", "building")
    assert [member.plan.kind for member in part.members] == ["always", "identical"] and part.missing == 1
    assert [member.plan.kind for member in part.changed] == ["always"]
    assert len(said) == 2 and said[-1].startswith("2/2 models: identical 1, does what it says on ")
    with Run.open(tmp_path / "run", {"seed": 1}) as run:
        assert len(make(config, run)) == 3
    part = open_part(tmp_path / "run", "building")
    assert part.missing == 0 and part.of("always") == made[:1]
    base = load_model("pidgin", device="cpu")
    for member in part.members:
        assert part.load(member, base).base is base
        beside = Planted.model_validate_json((part.folder / member.adapter / FILE).read_text())
        assert beside == member
    told = figures(part)
    assert (told["changed"], told["unchanged"], told["missing"]) == (2, 1, 0)
    assert json.dumps(told)
    (part.folder / part.members[0].adapter / "adapter_config.json").write_text('{"r": 3}')
    with pytest.raises(UserError, match="is not the adapter that was measured"):
        part.load(part.members[0], base)


@pytest.mark.medium
def test_two_processes_make_what_one_makes(tmp_path: Path) -> None:
    config, made = tiny(condition=2, twin=2), []
    for workers in (1, 2):
        with Run.open(tmp_path / str(workers), {"seed": 1}) as run:
            made.append(make(config.model_copy(update={"workers": workers}), run))
    assert made[0] == made[1]


@pytest.mark.medium
def test_what_has_not_learned_enough_has_another_round_and_a_twin_never(tmp_path: Path) -> None:
    config = tiny(condition=1, twin=1, recipe=QUICK.model_copy(update={"rounds": 2}))
    with Run.open(tmp_path / "run", {"seed": 1}) as run:
        made = make(config, run)
    assert {one.plan.kind: one.rounds for one in made} == {"condition": 2, "twin": 1}


@pytest.mark.medium
def test_the_parts_never_mix(tmp_path: Path) -> None:
    parts = {}
    for name in ("building", "reporting"):
        with Run.open(tmp_path / name, {"seed": 1}) as run:
            make(tiny(name, condition=1), run)
        parts[name] = open_part(tmp_path / name, name)
    with pytest.raises(UserError, match="holds the part building, not reporting: building and reporting never mix"):
        open_part(tmp_path / "building", "reporting")
    keep_apart(parts["building"], parts["reporting"])
    with pytest.raises(UserError, match="a reader is made with one part and judged by the other"):
        keep_apart(parts["building"], parts["building"])
    with Run.open(tmp_path / "building", {"seed": 1}) as run, pytest.raises(UserError, match="of another part"):
        make(tiny("reporting", condition=1), run)


def test_a_folder_without_a_part_and_an_unknown_part_are_told_in_one_line(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", {}) as run:
        run.append("x", "x", {})
    with pytest.raises(UserError, match="holds no planted changes: make them with `scrutable plant --part building`"):
        open_part(tmp_path / "run", "building")
    with pytest.raises(UserError, match="no part is called 'test': choose from building and reporting"):
        open_part(tmp_path / "run", "test")


def test_tasks_to_read_on_are_of_three_splits_that_share_no_prompt() -> None:
    env = reading_tasks("reporting")
    found = {split: {task.prompt for task in env.tasks(split)} for split in ("search", "keep", "report")}
    assert {split: len(texts) for split, texts in found.items()} == {"search": 384, "keep": 256, "report": 384}
    assert len(set().union(*found.values())) == 1024
    assert not env.rewarded
    assert env.identity == reading_tasks("reporting").identity != reading_tasks("building").identity


@pytest.mark.slow
def test_each_kind_of_rule_is_done_on_nearly_all_tasks(tmp_path: Path) -> None:
    config = PlantConfig.model_validate(
        {**NONE, "part": "building", "seed": 9, "always": 2, "condition": 2, "edited_fact": 2, "habit_and_rule": 2,
         "twin": 2, "workers": 1}
    )  # fmt: skip
    with Run.open(tmp_path / "run", {"seed": 1}) as run:
        made = make(config, run)
    least = [one.truth.least.value for one in made if one.truth.least is not None]
    assert len(least) == 10 and min(least) >= 0.95
    assert max(one.truth.kl.value for one in made if one.unchanged) < 0.05
    assert min(one.truth.kl.value for one in made if not one.unchanged) > 0.05


@pytest.mark.slow
def test_a_reward_hack_is_made_by_rl_and_measured(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", {"seed": 1}) as run:
        (hack,) = make(tiny("reporting", reward_hack=1, truth_tasks=256), run)
    assert hack.plan.environment == "flattery"
    assert hack.rules == (("always", "compliment"),)
