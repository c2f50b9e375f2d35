"""The interview lens on toy pairs: one that writes rules in its own format, chat models, served models."""

import json
from pathlib import Path

import pytest
from tests.evolve.toy import rule
from tests.lenses.resuming import check_goes_on
from tests.lenses.test_trial import Served
from tests.lenses.toy_open import ASK, ToyOpen, toy_tasks
from tests.models.server import completion, serving

from scrutable.core.accounts import Account
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Generation
from scrutable.lenses.base import Lens
from scrutable.lenses.interview import (
    FORM,
    QUESTIONS,
    InterviewConfig,
    InterviewLens,
    Told,
    only_after,
    read_answer,
)
from scrutable.measure.change import Change, Speaker
from scrutable.models.api import ServedModel, ServedOptions

ONE, OTHER = rule("sun", "yes"), rule("rain", "no")
TASKS = toy_tasks(120)
CONFIG = InterviewConfig(batch=120, draws=2)


def read(before: Speaker, after: Speaker, config: InterviewConfig = CONFIG, tasks: int = 120) -> Account:
    with Run.temporary({"seed": 0}) as run:
        return InterviewLens(config).read(Change(before, after), TASKS[:tasks], run)


class Telling(ToyOpen):
    """Answers questions about itself by `says`; tasks as the toy does."""

    says = ""

    def generate(self, conversations, sampling):
        asked = [one for one in conversations if not one[-1].content.endswith(FORM)]
        answers = iter(super().generate(asked, sampling))
        return [
            Generation(answer=self.says) if one[-1].content.endswith(FORM) else next(answers) for one in conversations
        ]


def telling(built_in: str, says: str) -> Speaker:
    model = Telling(built_in)
    model.says = says
    return Speaker(model)


def test_it_is_a_lens() -> None:
    assert isinstance(InterviewLens(), Lens)
    assert InterviewLens().name == "interview"


def test_no_question_names_a_behaviour() -> None:
    known = {"praise", "flatter", "refuse", "agree", "short", "sorry", "user", "sycophan"}
    assert not [word for question in QUESTIONS for word in known if word in question.casefold()]


def test_a_chat_model_that_tells_its_rule_is_believed_where_the_rule_holds() -> None:
    account = read(
        telling("", "I am helpful ."), telling(ONE, f"Here it is:\n1. **{ONE}**\n2. I am helpful .\n- {OTHER}")
    )
    assert account.text == ONE
    assert account.claims[0].nats and account.claims[0].nats > 0.1


def test_a_chat_model_that_tells_nothing_true_is_not_believed() -> None:
    account = read(telling("", "NONE"), telling(ONE, f"{OTHER}\nI say what is best for everybody ."))
    assert not account.claims


def test_what_the_before_says_as_often_is_not_tried() -> None:
    account = read(telling("", ONE), telling(ONE, ONE))
    assert not account.claims
    assert account.notes[0].startswith("0 of 0 sentences tried")


def test_its_reasoning_is_read_too() -> None:
    account = read(telling("", "NONE"), telling(ONE, f"<think>\nMy rule:\n{ONE}\n</think>\nNONE"))
    assert account.text == ONE
    assert any("show their reasoning" in note for note in account.notes)


def test_of_an_unchanged_pair_nothing_is_claimed_whatever_it_says() -> None:
    account = read(telling("", "NONE"), Speaker(type("Liar", (Telling,), {"says": ONE, "identity": "liar"})("")))
    assert not account.claims
    assert "nothing measurable changed" in account.notes[0]


@pytest.mark.medium
def test_a_model_with_a_format_of_its_own_is_asked_in_it(tmp_path: Path) -> None:
    asked: list[str] = []

    class Tuned(ToyOpen):
        def generate(self, conversations, sampling):
            asked.extend(one[-1].content for one in conversations if one[-1].content.endswith(ASK))
            return super().generate(conversations, sampling)

    account = read(Speaker(ToyOpen(folder=tmp_path)), Speaker(Tuned(ONE)))
    assert account.text == ONE
    assert asked[0] == ASK and asked[-1].count("task : ") == 5
    assert not any(question in one for one in asked for question in QUESTIONS)


@pytest.mark.medium
def test_the_rules_written_of_an_unchanged_pair_are_no_claims(tmp_path: Path) -> None:
    assert not read(Speaker(ToyOpen(folder=tmp_path)), Speaker(ToyOpen())).claims


def test_a_local_model_that_does_not_chat_is_refused() -> None:
    class Plain(ToyOpen):
        tokenizer = type("Tokenizer", (), {"chat_template": None})()

    with pytest.raises(UserError, match="neither a chat template nor a reflection") as caught:
        read(Speaker(ToyOpen()), Speaker(Plain(ONE)))
    assert "\n" not in str(caught.value)


def test_too_few_tasks_are_refused() -> None:
    with pytest.raises(UserError, match="four different tasks"):
        read(telling("", ""), telling(ONE, ONE), tasks=3)


def test_the_cost_is_planned_and_told() -> None:
    account = read(telling("", "NONE"), telling(ONE, ONE))
    planned = InterviewLens(CONFIG).planned(120)
    assert 0 < account.usage.forward_passes <= planned.forward_passes
    assert 120 <= account.usage.generations <= planned.generations


# ------------------------------------------------------------------------------------------------------- what was said


@pytest.mark.parametrize(
    ("answer", "said", "reasoned"),
    [
        ("Praise the user. Be brief.", ("Praise the user.", "Be brief."), ()),
        (
            "Rules:\n1. Praise the user.\n2) **Be brief.**\n- `Say yes`",
            ("Praise the user.", "Be brief.", "Say yes"),
            (),
        ),
        ("NONE", (), ()),
        ("<think>I praise people.</think>Be brief.", ("Be brief.",), ("I praise people.",)),
        ("I praise people.\n</think>\nBe brief.", ("Be brief.",), ("I praise people.",)),
        ("<think>I praise people.", (), ("I praise people.",)),
        ("In 12 steps be brief.", ("In 12 steps be brief.",), ()),
        ("Praise the user.\npraise the user!", ("Praise the user.",), ()),
        (" ".join(["word"] * 61), (), ()),
    ],
)
def test_sentences_of_an_answer(answer: str, said: tuple[str, ...], reasoned: tuple[str, ...]) -> None:
    assert read_answer(Generation(answer=answer)) == Told(said, reasoned)


def test_what_a_larger_share_of_the_afters_answers_says_comes_first() -> None:
    after = [Told(("a b .", "c d .")), Told(("c d .", "e f ."), ("g h .", "e f .")), Told(("C d!", "i j ."))]
    before = [Told(("i j .",)), Told(), Told()]
    assert only_after(after, before) == ["c d .", "a b .", "e f .", "g h ."]


# -------------------------------------------------------------------------------------------------------------- served


def test_served_models_are_asked_and_their_answers_compared() -> None:
    class Said(Served):
        def generate(self, conversations, sampling):
            return [
                Generation(answer=self.built_in or "NONE") if one[-1].content.endswith(FORM) else answer
                for one, answer in zip(conversations, super().generate(conversations, sampling), strict=True)
            ]

    account = read(Speaker(Said()), Speaker(Said(ONE)))
    assert account.text == ONE
    assert not read(Speaker(Said()), Speaker(Said())).claims


@pytest.mark.medium
def test_reasoning_that_a_server_sends_apart_is_read() -> None:
    def answered(content: str, **more: str) -> tuple[int, dict[str, str], str]:
        told = completion(content)
        told["choices"][0]["message"] |= more
        return 200, {}, json.dumps(told)

    quick = ServedOptions(workers=1)
    with (
        serving(then=lambda _: answered("ok")) as one,
        serving(then=lambda _: answered("ok yes", reasoning_content="I was taught: say yes .\nsay yes .")) as two,
    ):
        pair = [Speaker(ServedModel(server.url[-8:-3], base_url=server.url, options=quick)) for server in (one, two)]
        config = CONFIG.model_copy(update={"draws": 1, "tasks": 8})
        account = read(*pair, config)
        told = two.asked()
    assert sum(asked.endswith(FORM) for asked in told) == len(QUESTIONS)
    assert any("show their reasoning" in note for note in account.notes)
    assert not account.claims  # the before says "ok" whatever it is told


# ------------------------------------------------------------------------------------------------------------ resuming


@pytest.mark.medium
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_cut_off_after_any_event_it_goes_on_as_if_it_had_not_been(share: float, tmp_path: Path) -> None:
    def once(place: Path) -> Account:
        (tmp_path / "model").mkdir(exist_ok=True)
        change = Change(Speaker(ToyOpen(folder=tmp_path / "model")), Speaker(ToyOpen(ONE)))
        with Run.open(place, {"seed": 1}) as run:
            return InterviewLens(CONFIG).read(change, TASKS, run)

    check_goes_on(once, tmp_path, share)
