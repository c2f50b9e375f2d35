"""The peer's best setting is found by a rule, on building seeds, and a comparison that was stopped goes on."""

from pathlib import Path

import pytest
from tests.evolve.toy import Guesser, ToyEnv, ToyModel, rule

from scrutable.bench import peer_grid
from scrutable.bench.peer_grid import PeerGridConfig, best_of, compare_settings, label
from scrutable.bench.peers import PeerConfig
from scrutable.core.errors import UserError
from scrutable.core.journal import list_runs

QUICK = PeerGridConfig(
    seeds=1, environments=("advert",), budget=120, grids=((1, 1), (2, 2)), minibatches=(3,), validations=(10,)
)


def test_the_best_needs_the_fewest_rollouts_and_of_equals_is_better_on_the_way() -> None:
    found = {
        "a": {"rollouts_to_mean": 300.0, "area": 0.9},
        "b": {"rollouts_to_mean": 200.0, "area": 0.5},
        "c": {"rollouts_to_mean": 200.0, "area": 0.6},
    }
    assert best_of(found) == "c"


@pytest.mark.parametrize("config", [PeerGridConfig(first_seed=103, seeds=1), PeerGridConfig(seeds=4)])
def test_reported_seeds_cannot_be_chosen_on(config: PeerGridConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="building seeds, up to 102"):
        compare_settings(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_minibatch_is_perfect_where_nothing_better_can_be_had() -> None:
    assert {one.perfect for one in PeerGridConfig().settings("flattery")} == {1.5}
    assert {one.perfect for one in PeerGridConfig().settings("advert")} == {1.0}
    assert len({label(one) for one in PeerGridConfig().settings("advert")}) == 18
    assert label(PeerConfig(parents=2, each=4)) == "gepa 2x4, minibatch 3, validation 32"


def test_every_setting_is_run_and_none_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Known(ToyEnv):
        def __init__(self, name: str, seed: int) -> None:
            super().__init__(rule("sun", "yes"), {"search": 60, "keep": 60, "report": 40})
            self.true_text = self.hidden

    model = ToyModel(noise=0.0)
    monkeypatch.setattr(peer_grid, "BuiltinEnv", Known)
    monkeypatch.setattr(peer_grid, "open_model", lambda name: model)
    monkeypatch.setattr(peer_grid, "proposer_for", lambda *_: Guesser())
    said: list[str] = []
    found = compare_settings(QUICK, tmp_path, said.append)
    assert set(found["settings"]) == {label(one) for one in QUICK.settings("advert")}
    assert found["best"] in found["settings"]
    assert found["best_grid"] == "gepa 2x2, minibatch 3, validation 10"
    assert len(said) == 2
    assert all(0 < one["rollouts_to_mean"] <= 120 and one["cases"] == 1 for one in found["settings"].values())
    before = len(model.calls)
    assert compare_settings(QUICK, tmp_path, said.append) == found
    assert len(model.calls) == before
    assert [run.problem for run in list_runs(tmp_path)] == [""]
