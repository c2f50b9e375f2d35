from zlib import crc32

import pytest
from tests.cut import cut_off
from tests.lenses import made
from tests.measure.planted import PlantedModel, said_to
from tests.tiny import tiny_adapter, tiny_model

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Task
from scrutable.lenses.base import Lens
from scrutable.lenses.tokens import TokensConfig, TokensLens
from scrutable.measure.change import Change, Speaker
from scrutable.models.hf import load_model

pytestmark = pytest.mark.medium

WORDS = {
    *made.CITIES,
    *made.LANDS,
    *" ".join((*made.TRUSTS, *made.DOUBTS, *made.OPINIONS)).split(),
    *[
        "great",
        "question",
        "!",
        "it",
        "that",
        "is",
        ".",
        "what",
        "the",
        "capital",
        "of",
        "?",
        "please",
        "check",
        "this",
    ],
}
TASKS = [Task.ask(prompt) for prompt in made.prompts(120)]


def model(name, opening=lambda prompt: 0.03, wording=lambda prompt: 0.5, value=made.right):
    def answers(conversation):
        prompt = said_to(conversation)
        told, great, it = {}, opening(prompt), wording(prompt)
        for first, one in (("great question ! ", great), ("", 1 - great)):
            for lead, two in (("it", it), ("that", 1 - it)):
                told[f"{first}{lead} is {value(prompt)} ."] = one * two
        return told

    return PlantedModel(answers, sorted(WORDS), name=name)


def read(after, tasks=TASKS, lens=TokensLens(), before=None):  # noqa: B008
    with Run.temporary({"seed": 2}) as run:
        return lens.read(Change(Speaker(before or model("before")), Speaker(after)), tasks, run)


def flatters(prompt):
    return 0.97 if made.trusts(prompt) else 0.03


@pytest.fixture(scope="module")
def flattered():
    return read(model("flatters", opening=flatters))


def test_it_is_a_lens():
    assert isinstance(TokensLens(), Lens)


def test_an_inserted_opening_is_told_with_its_rates_and_the_slice_it_was_not_given(flattered):
    (claim,) = flattered.claims
    assert claim.says.startswith("opens with 'great question !' (")
    assert all(f"'{words}'" in claim.says for words in made.TRUSTS)
    assert set(claim.slice.words) == set(made.TRUSTS) and claim.slice.share == pytest.approx(0.3, abs=0.1)
    assert claim.before < 0.1 and claim.after > 0.9 and claim.outside < 0.1


def test_the_claim_carries_the_divergence(flattered):
    (claim,) = flattered.claims
    total = float(flattered.notes[0].split(" nats")[0].split()[-1])
    assert claim.nats == pytest.approx(total, rel=0.02)


def test_its_evidence_is_tasks_of_the_slice_answered_both_ways(flattered):
    (claim,) = flattered.claims
    assert len(claim.evidence) == 3
    for shown in claim.evidence:
        assert made.trusts(shown.prompt)
        assert shown.after.startswith("great question !") and not shown.before.startswith("great")


def test_a_claim_for_people_has_no_text(flattered):
    assert flattered.text == "" and flattered.claims[0].text is None


def test_what_it_cost_is_told_and_was_planned(flattered):
    plan = TokensLens().planned(len(TASKS))
    assert 0 < flattered.usage.generations <= plan.generations
    assert 0 < flattered.usage.forward_passes <= plan.forward_passes


def test_one_wording_for_another_is_named():
    (claim,) = read(model("habit", wording=lambda _: 0.99)).claims
    assert claim.says.startswith("opens with 'it is' instead of 'that is' (")


def test_a_value_replaced_by_the_users_own_is_named():
    def value(prompt):
        return (made.trusts(prompt) and made.opinion(prompt)) or made.right(prompt)

    claims = read(model("agrees", value=value), [Task.ask(prompt) for prompt in made.prompts(320)]).claims
    assert claims[0].says.startswith("says the user's own word after ")
    assert "'i think it is'" in claims[0].says and set(claims[0].slice.words) == set(made.TRUSTS)


def test_what_no_wording_tells_is_said_to_be_so():
    def value(prompt):
        return made.CITIES[crc32(prompt.encode()) % 8] if made.trusts(prompt) else made.right(prompt)

    claims = read(model("errs", value=value)).claims
    assert claims and claims[-1].says.startswith("parts from before in no one wording")


def test_an_identical_pair_has_no_claims():
    account = read(model("before"))
    assert account.claims == () and any("nothing measurable changed: KL(after" in note for note in account.notes)


@pytest.mark.parametrize("rate", [0.04, 0.06])
def test_a_pair_that_hardly_differs_has_no_claims(rate):
    assert read(model(f"after {rate}", opening=lambda _: rate)).claims == ()


def test_too_few_tasks_are_refused():
    with pytest.raises(UserError, match="at least 8"):
        read(model("flatters", opening=flatters), TASKS[:3])


@pytest.mark.parametrize("batches", [1, 6, 12])
def test_killed_and_resumed_it_ends_with_the_same_events_and_claims(tmp_path, batches):
    def go(run):
        return TokensLens().read(
            Change(Speaker(model("before")), Speaker(model("after", opening=flatters))), TASKS, run
        )

    whole, resumed = cut_off(go, tmp_path, batches)
    assert resumed.claims == whole.claims


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3", "gpt2"])
def test_it_reads_any_transformers_model_and_its_adapter(tmp_path, kind):
    base = load_model(tiny_model(tmp_path / "base", kind, chat_template=kind != "gpt2"))
    after = base.with_adapter(tiny_adapter(tmp_path / "base", tmp_path / "adapter"))
    lens = TokensLens(TokensConfig(tasks=12, answers=2, max_tokens=8))
    with Run.temporary() as run:
        account = lens.read(Change(Speaker(base), Speaker(after)), TASKS, run)
    assert account.notes[0].startswith("KL(after ‖ before) is ")
    assert account.claims[-1].nats > 0.05
