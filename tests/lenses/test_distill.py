"""The distill lens on a toy pair whose divergences are known in closed form."""

from pathlib import Path
from statistics import fmean

import pytest
from tests.evolve.toy import rule
from tests.lenses.resuming import check_goes_on
from tests.lenses.toy_open import ToyOpen, closed_form, toy_tasks

from scrutable.core.accounts import Account
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Generation
from scrutable.evolve.engine import EvolveConfig
from scrutable.evolve.sentences import sentences
from scrutable.lenses.base import Lens
from scrutable.lenses.distill import DistillConfig, DistillLens
from scrutable.measure.change import Change, Speaker

pytestmark = pytest.mark.medium

ONE = rule("sun", "yes")
TWO = f"{ONE} {rule('rain', 'no')}"
TASKS = toy_tasks(160)
CONFIG = DistillConfig(search=EvolveConfig(budget=5000, pool=40, keep=40, explore=20, patience=8, effect=0.02))


def read(folder: Path, tuned: str, config: DistillConfig = CONFIG, seed: int = 0, given: str = "") -> Account:
    change = Change(Speaker(ToyOpen(folder=folder), given), Speaker(ToyOpen(tuned)))
    with Run.temporary({"seed": seed}) as run:
        return DistillLens(config).read(change, TASKS, run)


def test_it_is_a_lens() -> None:
    assert isinstance(DistillLens(), Lens)
    assert DistillLens().name == "distill"


def test_one_rule_is_one_claim_that_carries_the_whole_divergence(tmp_path: Path) -> None:
    account = read(tmp_path, ONE)
    (claim,) = account.claims
    assert claim.text == claim.says == ONE
    whole = fmean(closed_form(ONE, "", task.prompt) for task in TASKS)
    assert claim.nats == pytest.approx(whole, rel=0.35)  # 40 of the 160 tasks
    assert account.text == ONE


@pytest.mark.parametrize("seed", range(3))
def test_two_rules_are_found_although_no_proposal_says_both(seed: int, tmp_path: Path) -> None:
    assert set(sentences(read(tmp_path, TWO, seed=seed).text)) == set(sentences(TWO))


def test_the_evidence_shows_the_change_and_the_text_bringing_it_back(tmp_path: Path) -> None:
    """Answers are drawn, so a single one may slip: of nine over three seeds, most do not."""
    shown = [one for seed in range(3) for (claim,) in [read(tmp_path, ONE, seed=seed).claims] for one in claim.evidence]
    assert len(shown) == 9
    assert all("sun" in one.prompt for one in shown)
    assert sum("yes" in one.after for one in shown) >= 6
    assert sum("yes" in one.before for one in shown) <= 3
    assert sum("yes" in (one.with_text or "") for one in shown) >= 6


def test_an_unchanged_pair_gives_no_claims_and_little_is_spent(tmp_path: Path) -> None:
    account = read(tmp_path, "")
    assert not account.claims
    assert "nothing measurable changed" in account.notes[0]
    assert account.usage.forward_passes < 300


def test_a_change_below_what_is_measurable_gives_no_claims(tmp_path: Path) -> None:
    account = read(tmp_path, ONE, CONFIG.model_copy(update={"stated": 50.0}))
    assert not account.claims


def test_a_change_that_no_text_can_carry_gives_no_claims(tmp_path: Path) -> None:
    """The tuned model says a word three times in ten, on every task: a rule says it always, and is worse than none."""
    change = Change(Speaker(ToyOpen(folder=tmp_path)), Speaker(ToyOpen(habit=0.3)))
    with Run.temporary({"seed": 0}) as run:
        account = DistillLens(CONFIG).read(change, TASKS, run)
    assert not account.claims
    assert "no text was found that helps" in account.notes[0]


def test_what_the_before_is_told_already_is_not_claimed(tmp_path: Path) -> None:
    account = read(tmp_path, TWO, given=ONE)
    assert account.text == rule("rain", "no")


def test_the_cost_is_told(tmp_path: Path) -> None:
    usage = read(tmp_path, ONE).usage
    assert usage.generations > 160
    assert 100 < usage.forward_passes < 10_000


def test_too_few_tasks_are_refused(tmp_path: Path) -> None:
    change = Change(Speaker(ToyOpen(folder=tmp_path)), Speaker(ToyOpen(ONE)))
    with Run.temporary({}) as run, pytest.raises(UserError, match="four different tasks"):
        DistillLens().read(change, TASKS[:3], run)


def test_a_tuned_model_that_answers_nothing_is_refused(tmp_path: Path) -> None:
    class Mute(ToyOpen):
        def generate(self, conversations, sampling):
            return [Generation(failure="model: no memory") for _ in conversations]

    change = Change(Speaker(ToyOpen(folder=tmp_path)), Speaker(Mute(ONE)))
    with Run.temporary({}) as run, pytest.raises(UserError, match="no memory"):
        DistillLens().read(change, TASKS, run)


def test_a_chat_model_that_reflects_sees_both_answers(tmp_path: Path) -> None:
    asked: list[str] = []

    class Chat(ToyOpen):
        def generate(self, conversations, sampling):
            asked.extend(one[-1].content for one in conversations)
            return [Generation(answer=f"HYPOTHESIS: sun\n```\n{ONE}\n```") for _ in conversations]

    change = Change(Speaker(ToyOpen()), Speaker(ToyOpen(ONE)))
    with Run.temporary({"seed": 0}) as run:
        account = DistillLens(CONFIG, reflector=Chat("chat")).read(change, TASKS, run)
    assert account.text == ONE
    assert "The model's answer: " in asked[0]
    assert "The assistant's own answer: " in asked[0]


@pytest.mark.parametrize("count", [8, 0])
def test_a_chat_model_that_reflects_is_told_the_surprising_words_and_claims(count: int) -> None:
    asked: list[str] = []

    class Chat(ToyOpen):
        def generate(self, conversations, sampling):
            asked.extend(one[-1].content for one in conversations)
            return [Generation(answer=f"HYPOTHESIS: sun\n```\n{ONE}\n```") for _ in conversations]

    change = Change(Speaker(ToyOpen()), Speaker(ToyOpen(ONE)))
    with Run.temporary({"seed": 0}) as run:
        DistillLens(CONFIG.model_copy(update={"hints": count}), reflector=Chat("chat")).read(change, TASKS, run)
    assert ("- the word 'yes' is surprising" in asked[0]) is (count > 0)
    assert ("\n- it " in asked[0]) is (count > 0)  # a claim of the tokens lens


def test_hints_are_planned_for() -> None:
    plans = [DistillLens(CONFIG.model_copy(update={"hints": count})).planned(100) for count in (0, 8)]
    assert [plan.generations for plan in plans] == [100, 200]
    assert plans[1].forward_passes - plans[0].forward_passes == 200


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7, 0.95])
def test_cut_off_after_any_event_it_goes_on_as_if_it_had_not_been(share: float, tmp_path: Path) -> None:
    def once(place: Path) -> Account:
        (tmp_path / "model").mkdir(exist_ok=True)
        change = Change(Speaker(ToyOpen(folder=tmp_path / "model")), Speaker(ToyOpen(ONE)))
        with Run.open(place, {"seed": 1}) as run:
            return DistillLens(CONFIG).read(change, TASKS, run)

    check_goes_on(once, tmp_path, share)


def test_the_built_in_model_reads_two_planted_rules_back(tmp_path: Path) -> None:
    """The after is the before with a text that the lens does not see; the rules found are the same, in any wording."""
    from scrutable.envs.builtin import BuiltinEnv
    from scrutable.models.hf import load_model
    from scrutable.world import grammar

    model, env = load_model("pidgin"), BuiltinEnv("two-rules")
    search = EvolveConfig(budget=3000, pool=60, keep=40, effect=0.02, patience=1)
    config = DistillConfig(tasks=200, search=search)
    with Run.temporary({"seed": 1}) as run:
        change = Change(Speaker(model), Speaker(model, env.true_text))
        account = DistillLens(config).read(change, env.tasks("search"), run)
    assert grammar.read(account.text) == (list(grammar.canonical(env.rules)), [])
