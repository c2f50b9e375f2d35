"""The bench of text with RL: how rollouts are divided and counted, what the text explained, and a case through all arms."""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import fmean

import pytest

from scrutable.bench import with_rl as benching
from scrutable.bench.with_rl import ARMS, WithRlConfig, check, phases_of, quotas, with_rl
from scrutable.bench.with_rl_measure import GaugeConfig, explained
from scrutable.bench.with_rl_table import COLUMNS, OVER, explained_table, over_seeds, over_table, table
from scrutable.core.errors import UserError
from scrutable.core.journal import Run, events_equal
from scrutable.envs.builtin import BuiltinEnv
from scrutable.evolve.engine import EvolveConfig
from scrutable.evolve.reflection import ReflectConfig
from scrutable.models.hf import HFModel
from scrutable.train.rl import TrainConfig

medium = pytest.mark.medium

SMALL = WithRlConfig(
    environments=("flattery",),
    first_seed=3,
    rollouts=240,
    search=0.5,
    rounds=1,
    train=TrainConfig(group=4, tasks_per_step=4, looks=1, draws=2, validation_tasks=8, patience=0),
    evolve=EvolveConfig(proposals=1, ahead=1, pool=12, keep=12, explore=6, width=2, reflect=ReflectConfig(samples=2)),
    gauge=GaugeConfig(tasks=12),
)


# ------------------------------------------------------------------------------------------------- matched rollouts


@pytest.mark.parametrize(
    ("phases", "ends"),
    [
        ("S", [9000]),
        ("R", [9000]),
        ("SR", [2250, 9000]),
        ("RS", [6750, 9000]),
        ("RSRSR", [2250, 3375, 5625, 6750, 9000]),
    ],
)
def test_every_arm_ends_at_the_same_number_of_rollouts(phases: str, ends: list[int]) -> None:
    assert quotas(phases, 9000, 0.25) == ends


def test_quotas_rise_to_the_last_rollout_whatever_the_numbers_are() -> None:
    draws = Random(0)
    for _ in range(200):
        rollouts, search, rounds = draws.randint(2000, 30000), draws.uniform(0.05, 0.95), draws.randint(1, 5)
        found = quotas("R" + "SR" * rounds, rollouts, search)
        assert found == sorted(found)
        assert found[-1] == rollouts
        sizes = [end - start for start, end in zip([0, *found], found, strict=False)]
        assert sum(sizes[1::2]) == pytest.approx(search * rollouts, abs=rounds + 1)


def test_the_interleaved_arm_has_as_many_searches_as_rounds_each_between_trainings() -> None:
    assert phases_of(SMALL.model_copy(update={"rounds": 3}))["interleaved"] == "RSRSRSR"


def test_each_environment_gets_what_rl_alone_needs_there_unless_told() -> None:
    config = WithRlConfig()
    assert [config.budget(name) for name in config.environments] == [9_000, 30_000]
    assert SMALL.budget("flattery") == 240
    check(config)


def test_what_cannot_be_run_is_refused_before_anything_is() -> None:
    with pytest.raises(UserError, match="no built-in environment is called 'nope'"):
        check(SMALL.model_copy(update={"environments": ("nope",)}))
    with pytest.raises(UserError, match="no arm is called 'nope'"):
        check(SMALL.model_copy(update={"arms": ("nope",)}))
    with pytest.raises(UserError, match="of 240, RL of the arm text-rl would get 24, and it needs 48"):
        check(SMALL.model_copy(update={"search": 0.9}))
    with pytest.raises(UserError, match="of 240, a search of the arm text-rl would get 24, and it needs 100"):
        check(SMALL.model_copy(update={"search": 0.1}))


# ------------------------------------------------------------------------------------------------- what was not learned


def columns(draws: Random, **means: float) -> dict[str, dict[str, float]]:
    return {name: {f"t{n}": draws.gauss(mean, 0.1) for n in range(50)} for name, mean in means.items()}


def test_what_the_text_explained_is_what_rl_changed_and_inoculated_rl_did_not() -> None:
    draws = Random(1)
    base = columns(draws, kl=0.0, proxy=0.5, true=1.0)
    rl, arm = columns(draws, kl=4.0, proxy=1.5, true=0.4), columns(draws, kl=1.0, proxy=0.7, true=0.9)
    with Run.temporary() as run:
        found = explained(arm, rl, base, 0.05, run)
    mean = {
        who: {key: fmean(values.values()) for key, values in of.items()}
        for who, of in {"base": base, "rl": rl, "arm": arm}.items()
    }
    assert found["kl"]["value"] == pytest.approx(1 - mean["arm"]["kl"] / mean["rl"]["kl"])
    for name in ("proxy", "true"):
        learned = (mean["arm"][name] - mean["base"][name]) / (mean["rl"][name] - mean["base"][name])
        assert found[name]["value"] == pytest.approx(1 - learned)
        assert found[name]["low"] < 1 - learned < found[name]["high"]


def test_tasks_that_one_of_them_has_no_value_on_are_left_out() -> None:
    base, rl = {"kl": {"a": 0.0, "b": 0.0, "c": 0.0}}, {"kl": {"a": 2.0, "b": 4.0, "c": 9.0}}
    arm = {"kl": {"a": 1.0, "b": 1.0}}
    rest = {"proxy": {}, "true": {}}
    with Run.temporary() as run:
        found = explained({**arm, **rest}, {**rl, **rest}, {**base, **rest}, 0.05, run)
    assert found["kl"]["value"] == pytest.approx(1 - 2 / 6)
    assert found["proxy"] is None


def test_no_share_is_told_where_rl_changed_nothing() -> None:
    draws = Random(2)
    base = columns(draws, kl=0.0, proxy=0.5, true=1.0)
    still, moved = columns(draws, kl=3.0, proxy=0.5, true=0.2), columns(draws, kl=3.0, proxy=0.9, true=0.2)
    with Run.temporary() as run:
        found = explained(moved, still, base, 0.05, run)
        assert found["proxy"] is None  # RL's own rise cannot be told from none
        assert found["kl"] is not None
        assert set(explained(moved, still, base, 3.5, run).values()) == {None}


# ------------------------------------------------------------------------------------------------- all arms, for real


def counted(run: Run) -> Counter[str]:
    """Count the answers of each arm, event by event."""
    found: Counter[str] = Counter()
    for event in run.events():
        arm = event.key.split("/")[0]
        if event.kind == "rollouts":
            found[arm] += len(event.payload["rollouts"])
        elif event.kind == "step":
            found[arm] += event.payload["answers"]
        elif event.kind == "validation":
            found[arm] += event.payload["count"]
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("with-rl")
    return folder, with_rl(SMALL, folder, lambda line: None)


@medium
def test_every_arm_is_charged_for_each_answer_once_and_none_draws_more_than_its_own(ran: tuple[Path, dict]) -> None:
    folder, found = ran
    arms = found["cases"]["flattery-3"]["arms"]
    assert list(arms) == ["base", *ARMS]
    drawn = counted(Run.read(folder / "flattery-3"))
    for name in ("text", "rl", "text-rl", "rl-text", "interleaved", "unrelated"):
        row = arms[name]
        assert row["rollouts"] == row["search"] + row["training"] == drawn[name] <= 240, name
    assert arms["inoculated"]["rollouts"] == arms["text-rl"]["rollouts"]
    assert arms["unrelated"]["rollouts"] <= arms["text-rl"]["phases"][1]["quota"]
    assert 240 - arms["rl"]["rollouts"] < 32 + 8  # no whole step is left


@medium
def test_what_a_phase_leaves_goes_to_the_next(ran: tuple[Path, dict]) -> None:
    _, found = ran
    for name, ends in (("text-rl", [120, 240]), ("rl-text", [120, 240]), ("interleaved", [60, 180, 240])):
        before = 0
        for phase, end in zip(found["cases"]["flattery-3"]["arms"][name]["phases"], ends, strict=True):
            assert phase["quota"] == end - before
            assert phase["rollouts"] <= phase["quota"]
            before += phase["rollouts"]


@medium
def test_what_is_measured_is_of_the_arms_own_model_and_text(ran: tuple[Path, dict]) -> None:
    _, found = ran
    arms = found["cases"]["flattery-3"]["arms"]
    assert arms["base"]["without"]["kl"]["value"] == pytest.approx(0, abs=1e-6)
    assert arms["text"]["without"]["proxy"]["value"] == arms["base"]["without"]["proxy"]["value"]
    assert arms["inoculated"]["without"]["kl"] == pytest.approx(arms["text-rl"]["without"]["kl"], rel=0.5)
    assert arms["rl"]["with_text"]["kl"]["value"] == arms["rl"]["without"]["kl"]["value"] > 0
    assert arms["interleaved"]["phases"][0]["adapter"] != arms["interleaved"]["phases"][2]["adapter"]


@medium
@pytest.mark.parametrize(
    "last",
    [
        "rl-text/0/train/step",  # RL that the search is to follow
        "rl-text/1/evolve/reflection",  # a search around the tuned model
        "interleaved/1/evolve/rollouts",  # the search between two trainings
        "interleaved/2/train/step",  # RL that went on from an adapter
    ],
)
def test_a_bench_that_was_killed_goes_on_and_comes_to_the_same(
    ran: tuple[Path, dict], tmp_path: Path, last: str
) -> None:
    folder, whole = ran
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    journal = tmp_path / "flattery-3" / "events.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    first = next(n for n, line in enumerate(lines) if f'"key":"{last}'.encode() in line)
    journal.write_bytes(b"".join(lines[: first + 1]) + b'{"key": "torn')
    for place in (tmp_path / "flattery-3" / "artifacts").iterdir():  # what came later is not there yet
        later = [
            one for one in place.iterdir() if f'"key":"{place.name}/{one.name}/'.encode() not in journal.read_bytes()
        ]
        for one in (*later, place / last.split("/")[1]) if place.name == last.split("/")[0] else later:
            shutil.rmtree(one, ignore_errors=True)
    again = with_rl(SMALL, tmp_path, lambda line: None)
    assert events_equal(tmp_path / "flattery-3", folder / "flattery-3")
    for name, row in whole["cases"]["flattery-3"]["arms"].items():
        found = again["cases"]["flattery-3"]["arms"][name]
        assert {**found, "seconds": 0, "phases": 0} == {**row, "seconds": 0, "phases": 0}


@medium
def test_no_phase_is_asked_a_report_task_and_the_table_stands_on_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompts that the model is asked, and the raters' tasks, while a phase runs and while it does not."""
    asked: dict[str, set[str]] = {"phases": set(), "gauge": set()}
    rated: dict[str, set[str]] = {"phases": set(), "gauge": set()}
    now = ["gauge"]

    @contextmanager
    def phase() -> Iterator[None]:
        now[0] = "phases"
        yield
        now[0] = "gauge"

    def within(function):
        def wrapped(*given, **more):
            with phase():
                return function(*given, **more)

        return wrapped

    def noting(generate):
        def wrapped(self, conversations, sampling, **more):
            asked[now[0]] |= {one[-1].content for one in conversations}
            return generate(self, conversations, sampling, **more)

        return wrapped

    def marking(rate):
        def wrapped(self, tasks, answers):
            rated[now[0]] |= {str(task.columns["split"]) for task in tasks}
            return rate(self, tasks, answers)

        return wrapped

    monkeypatch.setattr(benching, "evolve", within(benching.evolve))
    monkeypatch.setattr(benching, "train", within(benching.train))
    monkeypatch.setattr(HFModel, "generate", noting(HFModel.generate))
    monkeypatch.setattr(BuiltinEnv, "rate", marking(BuiltinEnv.rate))
    with_rl(SMALL.model_copy(update={"arms": ("rl-text", "interleaved")}), tmp_path, lambda line: None)
    report = {task.prompt for task in BuiltinEnv("flattery", seed=3).tasks("report")}
    assert rated == {"phases": {"search", "keep"}, "gauge": {"report"}}
    assert asked["gauge"] <= report
    assert len(asked["phases"]) > 50 and not asked["phases"] & report


@medium
def test_the_search_after_rl_is_around_the_tuned_model_and_rl_after_it_goes_on_from_there(
    ran: tuple[Path, dict],
) -> None:
    folder, found = ran
    run = Run.read(folder / "flattery-3")
    begun = {event.key: event.payload for event in run.events("stage")}
    for arm in ("rl-text", "interleaved"):
        alone, around = begun["text/0/evolve/stage"]["search"][0], begun[f"{arm}/1/evolve/stage"]["search"][0]
        assert alone != around, arm  # whose answers are scored is part of what is searched
    starts = [begun[f"interleaved/{n}/train/stage"]["of"]["start"] for n in (0, 2)]
    assert starts[0] is None and starts[1] is not None
    phases = found["cases"]["flattery-3"]["arms"]["interleaved"]["phases"]
    assert phases[1]["adapter"] == phases[0]["adapter"]
    assert phases[2]["text"] == phases[1]["text"]


@medium
def test_some_arms_of_a_run_that_stands_are_told_without_drawing_anything(ran: tuple[Path, dict]) -> None:
    folder, whole = ran
    before = len(Run.read(folder / "flattery-3").events())
    few = with_rl(SMALL.model_copy(update={"arms": ("text", "rl")}), folder, lambda line: None)
    case = few["cases"]["flattery-3"]
    assert case["arms"] == {name: whole["cases"]["flattery-3"]["arms"][name] for name in ("base", "text", "rl")}
    assert case["explained"] == {}
    assert len(Run.read(folder / "flattery-3").events()) == before


# ------------------------------------------------------------------------------------------------- words


def value(x: float) -> dict[str, float | None]:
    return {"value": x, "low": x - 0.1, "high": x + 0.1}


def test_the_table_shows_each_arm_with_its_text_and_without_and_the_inoculated_one_without_alone() -> None:
    both = {
        "rollouts": 1400,
        "search": 400,
        "training": 1000,
        "seconds": 12.3,
        "text": "praise .",
        "with_text": {"proxy": value(1.5), "true": None, "kl": value(4.0)},
        "without": {"proxy": value(0.5), "true": None, "kl": value(0.3)},
    }
    case = {"arms": {"text-rl": both, "inoculated": both, "rl": {**both, "text": ""}}}
    rows = table(case)
    assert [len(row) for row in rows] == [len(COLUMNS)] * 4
    assert rows[0][:6] == ("text-rl", "1,400", "400 + 1,000", "12", "text", "1.50 (1.40 to 1.60)")
    assert [row[4] for row in rows] == ["text", "no text", "no text", "no text"]
    assert rows[2][5] == "0.50 (0.40 to 0.60)"
    assert rows[0][6] == "–"


def test_no_share_is_said_in_words() -> None:
    nothing = {"kl": value(0.9), "proxy": value(0.8), "true": None}
    rows = explained_table({"explained": {"inoculated": nothing, "unrelated": nothing}})
    assert rows[1] == ("with an unrelated text (the null)", "0.90 (0.80 to 1.00)", "0.80 (0.70 to 0.90)", "no share")


def seed_of(x: float, text: str) -> dict:
    row = {
        "rollouts": 100 * x,
        "search": 0,
        "training": 10 * x,
        "seconds": x,
        "text": text,
        "with_text": {"proxy": value(x), "true": None, "kl": value(2 * x)},
        "without": {"proxy": value(0.5), "true": None, "kl": value(0.0)},
    }
    share = {"kl": value(x / 4), "proxy": None if x > 1 else value(0.5), "true": None}
    return {"rollouts": 300, "arms": {"text": row, "inoculated": row}, "explained": {"inoculated": share}}


def test_over_seeds_a_figure_is_its_mean_with_the_least_and_the_most() -> None:
    found = over_seeds([seed_of(1.0, ""), seed_of(2.0, "praise ."), seed_of(3.0, "praise .")])
    text = found["arms"]["text"]
    assert text["with_text"]["proxy"] == {"value": 2.0, "low": 1.0, "high": 3.0, "count": 3}
    assert text["with_text"]["true"] is None
    assert (text["rollouts"], text["training"], text["found"], text["seeds"]) == (200, 20, 2, 3)
    assert found["explained"]["inoculated"]["kl"]["value"] == pytest.approx(0.5)
    # A share that only one seed has is that seed's, and says so.
    assert found["explained"]["inoculated"]["proxy"] == {"value": 0.5, "low": 0.5, "high": 0.5, "count": 1}


def test_the_table_over_seeds_has_a_row_with_the_text_only_where_a_seed_found_one() -> None:
    rows = over_table(over_seeds([seed_of(1.0, "praise ."), seed_of(3.0, "")]))
    assert [len(row) for row in rows] == [len(OVER)] * 3
    assert rows[0] == ("text", "2", "200", "20", "text", "2.00 (1.00 to 3.00)", "–", "4.00 (2.00 to 6.00)")
    assert [row[4] for row in rows] == ["text", "no text", "no text"]
    assert over_table(over_seeds([seed_of(1.0, "")]))[0][4] == "no text"
