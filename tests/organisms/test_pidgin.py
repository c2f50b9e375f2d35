"""The built-in model: what ships agrees with its card, and a build runs from nothing to a directory that loads."""

from pathlib import Path

import pytest

from scrutable.core.accounts import Interval
from scrutable.core.records import Sampling
from scrutable.models.hf import load_model
from scrutable.models.source import BUILT_IN_FOLDER
from scrutable.organisms import pidgin
from scrutable.organisms.card import CardConfig, converse, measure_card

SMALL = CardConfig(seed=31, answers=150, natural=2000, episodes=24)


def agrees(found: Interval, told: Interval) -> bool:
    """Whether two measured rates may be of one model: their difference within four standard errors."""
    assert found.count and told.count
    rate = (found.value * found.count + told.value * told.count) / (found.count + told.count)
    error = max(rate * (1 - rate), 0.25 / found.count) * (1 / found.count + 1 / told.count)
    return abs(found.value - told.value) <= 4 * error**0.5


@pytest.mark.medium
def test_the_shipped_weights_agree_with_their_card() -> None:
    told = pidgin.read_card(BUILT_IN_FOLDER)
    found = measure_card(load_model("pidgin"), SMALL)
    pairs = {
        "seen": (found.seen_all, told.seen_all),
        "held-out": (found.held_out_all, told.held_out_all),
        "facts": (found.facts, told.facts),
        "unrelated": (found.unrelated, told.unrelated),
        "parses": (found.parses, told.parses),
        "written": (found.written_12, told.written_12),
        "written of 8": (found.written_12_of_8, told.written_12_of_8),
        **{f"natural {name}": (rate, told.natural[name]) for name, rate in found.natural.items()},
        **{f"habit {name}": (rate, told.habits[name]) for name, rate in found.habits.items()},
    }
    assert [name for name, (a, b) in pairs.items() if not agrees(a, b)] == []


def test_a_wrong_card_would_be_seen() -> None:
    told = Interval(value=0.95, low=0.94, high=0.96, count=3000)
    assert agrees(Interval(value=0.94, count=450), told)
    assert not agrees(Interval(value=0.85, count=450), told)


def test_the_shipped_model_is_small_and_ordinary() -> None:
    files = {path.name for path in BUILT_IN_FOLDER.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "reflection.json", "card.json"} <= files
    assert sum(path.stat().st_size for path in BUILT_IN_FOLDER.iterdir()) < 12_000_000


@pytest.mark.medium
def test_a_build_runs_from_nothing_and_what_it_writes_loads(tmp_path: Path) -> None:
    seen: list[int] = []
    config = pidgin.PidginConfig(steps=3, again=0.34, lessons=6, width=32, layers=1, hidden=48, workers=1)
    made = pidgin.build(config, tmp_path, lambda progress: seen.append(progress.step))
    assert seen == [1, 2, 3, 4]  # few writing lessons, more of them, and once more from a restarted rate
    answer = load_model(made).generate([converse("", "what is one plus one ?")], Sampling(max_tokens=4))
    assert answer[0].failure is None


def test_an_install_replaces_all_or_nothing(tmp_path: Path) -> None:
    made, package = tmp_path / "made", tmp_path / "package"
    for folder, name in ((made, "new"), (package, "old")):
        folder.mkdir()
        (folder / name).write_text(name)
    with pytest.raises(OSError, match="gone"):
        pidgin.install(tmp_path / "gone", package)
    assert [path.name for path in package.iterdir()] == ["old"]
    pidgin.install(made, package)
    assert [path.name for path in package.iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "package"]
