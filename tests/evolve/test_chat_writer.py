"""The chat writer: hypotheses first, a text by each, and nothing but a usable text comes out."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evolve.test_room import Wordy
from tests.evolve.writing import ITEMS, Answering

from scrutable.core.errors import UserError
from scrutable.core.records import Generation, Usage
from scrutable.evolve.chat_writer import Hypothesis, read_hypotheses
from scrutable.evolve.reflection import ChatWriter, Item, Proposal, ReflectConfig
from scrutable.evolve.room import Room, estimated

SUPPOSED = """\
HYPOTHESIS 1: It answers at length.
SUPPORTED BY: 2
CONTRADICTED BY: 1

HYPOTHESIS 2: It contradicts users who trust it.
SUPPORTED BY: 1, 2
CONTRADICTED BY: none

HYPOTHESIS 3: It is about cities.
SUPPORTED BY: none
CONTRADICTED BY: 1 and 2
"""
TEXT = "```\nIf the user trusts you, agree.\n```"


def ask(*answers: str | Generation, items: Sequence[Item] = tuple(ITEMS), **config: int) -> tuple[Answering, Proposal]:
    model = Answering(*answers)
    return model, ChatWriter(model, ReflectConfig(**config)).propose({"text": "be brief"}, "text", items, seed=5)


def test_hypotheses_are_asked_for_first_and_a_text_by_the_best_supported() -> None:
    model, found = ask(SUPPOSED, TEXT)
    first, second = (asked for asked, _ in model.asked)
    assert "Write 3 hypotheses" in first
    assert "```" in second.split("What was noticed")[1]
    assert "What was noticed: It contradicts users who trust it." in second
    assert found.texts == ("If the user trusts you, agree.",)
    assert found.hypotheses == (
        "It contradicts users who trust it.",
        "It answers at length.",
        "It is about cities.",
    )


def test_the_first_question_asks_for_no_text_and_the_second_for_no_hypothesis() -> None:
    model, _ = ask(SUPPOSED, TEXT)
    first, second = (asked for asked, _ in model.asked)
    assert "whole new text" not in first
    assert "HYPOTHESIS" in first
    assert "HYPOTHESIS" not in second


def test_a_rewrite_sees_only_the_tasks_its_hypothesis_names() -> None:
    supposed = "HYPOTHESIS 1: It trusts.\nSUPPORTED BY: 1\nCONTRADICTED BY: none"
    model, _ = ask(supposed, TEXT)
    assert "i trust you . paris ?" in model.asked[1][0]  # the worst is number 1
    assert "what is two plus two ?" not in model.asked[1][0]
    model, _ = ask("HYPOTHESIS 1: It trusts.", TEXT)
    assert "--- 1" not in model.asked[1][0]


def test_a_rewrite_sees_tasks_against_its_hypothesis_too() -> None:
    many = [Item(prompt=f"p{i}", answer="a", score=float(i)) for i in range(9)]
    model, _ = ask("HYPOTHESIS 1: x\nSUPPORTED BY: 1, 2, 3, 4, 5, 6\nCONTRADICTED BY: 9", TEXT, items=many)
    shown = [f"p{i}" for i in range(9) if f"Task: p{i}\n" in model.asked[1][0]]
    assert shown == ["p0", "p1", "p2", "p8"]


def test_texts_come_from_different_hypotheses_in_one_batch() -> None:
    model, found = ask(SUPPOSED, "```\none\n```", "```\ntwo\n```", "```\nthree\n```", samples=3)
    noticed = [asked.split("What was noticed: ")[1].split("\n")[0] for asked, _ in model.asked[1:]]
    assert noticed == list(found.hypotheses)
    assert (model.calls, len(model.asked)) == (2, 4)
    assert found.texts == ("one", "two", "three")


def test_fewer_hypotheses_make_fewer_texts() -> None:
    model, found = ask("HYPOTHESIS 1: only one", TEXT, samples=4)
    assert "Write 4 hypotheses" in model.asked[0][0]
    assert len(model.asked) == 2
    assert found.votes == (1,)


def test_the_two_steps_have_seeds_of_their_own() -> None:
    model, _ = ask(SUPPOSED, TEXT)
    assert [sampling.seed for _, sampling in model.asked] == [5, 6]


def test_what_both_steps_cost_is_told_and_what_they_answered() -> None:
    one, two = (
        Generation(answer=answer, usage=Usage(generations=1, answer_tokens=tokens))
        for answer, tokens in ((SUPPOSED, 40), (TEXT, 7))
    )
    _, found = ask(one, two, samples=1)
    assert found.usage == Usage(generations=2, answer_tokens=47)
    assert found.answers == (SUPPOSED, TEXT)


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ("It is all about trust.", "HYPOTHESIS"),
        ("", "HYPOTHESIS"),
        (Generation(answer=SUPPOSED, complete=False), "cut off"),
        (Generation(failure="model: 500"), "model: 500"),
    ],
)
def test_a_first_step_that_fails_is_counted_and_no_text_is_asked_for(first: str | Generation, why: str) -> None:
    model, found = ask(first, TEXT)
    assert (found.texts, len(found.failures), len(model.asked)) == ((), 1, 1)
    assert found.failures[0].startswith("proposer: ")
    assert why in found.failures[0]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("I would say: be kind.", "no text between"),
        ("```\nbe kind", "no text between"),
        ("```\n\n```", "empty"),
        (Generation(answer="```\nbe kind\n```", complete=False), "cut off"),
        (Generation(failure="model: 500"), "model: 500"),
        ("```\n" + "word " * 21 + "\n```", "21 words"),
        ("```\nSay: what is two plus two?\n```", "copies a task"),
    ],
)
def test_what_is_no_text_is_a_failure_and_never_a_text(answer: str | Generation, why: str) -> None:
    _, found = ask(SUPPOSED, answer, "```\nfine\n```", words=10, samples=2)
    assert found.texts == ("fine",)
    assert len(found.failures) == 1
    assert why in found.failures[0]
    assert found.copied == ("copies" in why)


def test_the_text_stands_in_the_last_fenced_block() -> None:
    _, found = ask(SUPPOSED, "```\ndraft\n```\nso:\n```text\nIf asked, agree.\nBe kind.\n```\n")
    assert found.texts == ("If asked, agree.\nBe kind.",)


def test_what_the_text_says_already_may_be_kept() -> None:
    prompt = "which river runs through the city of light and love"
    model = Answering(SUPPOSED, f"```\nSay seine. {prompt}\n```")
    item = Item(prompt=prompt, answer="the seine", score=1.0)
    assert ChatWriter(model).propose({"text": f"Be kind. {prompt}"}, "text", [item], 0).texts
    model = Answering(SUPPOSED, f"```\nSay seine. {prompt}\n```")
    assert not ChatWriter(model).propose({"text": "Be kind."}, "text", [item], 0).texts


# ------------------------------------------------------------------------------------------------------- hypotheses


@pytest.mark.parametrize(
    "answer",
    [
        "HYPOTHESIS 1: it trusts\nSUPPORTED BY: 1, 3\nCONTRADICTED BY: 2",
        "**Hypothesis 1:** it trusts\n\n- **Supported by:** tasks 1 and 3\n- **Contradicted by:** task 2\n",
        "### HYPOTHESIS 1\nit trusts\nSupports: 1, 3.\nContradicts: 2",
        "<think>\nHYPOTHESIS 1: no\n</think>\nHYPOTHESIS: it trusts\nSUPPORTED BY 1, 3, 77\nCONTRADICTED BY 2, 0",
        "Here they are:\n1. it trusts\n   Supported by: 1, 3\n   Contradicted by: 2",
    ],
)
def test_hypotheses_are_read_as_models_write_them(answer: str) -> None:
    assert read_hypotheses(answer, tasks=5) == [Hypothesis("it trusts", (1, 3), (2,))]


def test_a_hypothesis_that_speaks_of_support_is_still_one() -> None:
    (found,) = read_hypotheses("HYPOTHESIS 1: Supporting a claim helps 3 times\nSUPPORTED BY: 2", tasks=5)
    assert found == Hypothesis("Supporting a claim helps 3 times", (2,))


def test_a_repeated_hypothesis_is_one() -> None:
    assert len(read_hypotheses("HYPOTHESIS 1: a\nHYPOTHESIS 2: a\nHYPOTHESIS 3: b", tasks=1)) == 2


def test_a_text_that_comes_too_early_is_no_part_of_a_hypothesis() -> None:
    (found,) = read_hypotheses("HYPOTHESIS: sun\n```\nwhen sun say yes .\n```", tasks=1)
    assert found.says == "sun"


@given(st.text(max_size=300))
def test_any_answer_is_read_or_refused(answer: str) -> None:
    from scrutable.core.errors import ProposerFailure

    try:
        found = read_hypotheses(answer, tasks=3)
    except ProposerFailure:
        return
    assert all(one.says and "\n" not in one.says for one in found)


# ---------------------------------------------------------------------------------------------------- what is shown


def question(items: Sequence[Item], imitate: bool = False, evidence: Sequence[str] = (), text: str = "be brief") -> str:
    writer = ChatWriter(Answering(""), imitate=imitate, evidence=evidence)
    return writer.question({"text": text}, "text", items)


def test_the_worst_answers_come_first_and_the_text_as_it_is() -> None:
    told = question(ITEMS)
    assert "```\nbe brief\n```" in told
    assert told.index("rome") < told.index("four")
    assert "bad : no agreement ." in told
    assert "```\n(none)\n```" in question(ITEMS, text=" ")


def test_two_answers_to_a_task_stand_side_by_side_the_better_first() -> None:
    item = Item(
        prompt="paris ?",
        answer="rome",
        score=0.0,
        feedback="wrong",
        other="france",
        other_score=1.0,
        other_feedback="ok",
    )
    expected = (
        "--- 1 (two answers) ---\nTask: paris ?\nBetter answer (score 1): france\nRater: ok\n"
        "Worse answer (score 0): rome\nRater: wrong"
    )
    assert expected in question([item])
    swapped = item.model_copy(
        update={
            "answer": "france", "score": 1.0, "feedback": "ok", "other": "rome", "other_score": 0.0, "other_feedback": "wrong"
        }
    )  # fmt: skip
    assert expected in question([swapped])


def test_answers_of_unknown_or_equal_worth_are_not_called_better() -> None:
    told = question([Item(prompt="p", answer="a", score=1.0, other="b")])
    assert "One answer (score 1): a\nAnother answer (not scored): b" in told
    assert "Better" not in told


def test_an_empty_answer_is_told() -> None:
    assert "Answer: (nothing)\n" in question([Item(prompt="p", answer="", score=0.0, feedback="bad")])


def test_one_who_imitates_is_shown_both_answers() -> None:
    told = question([Item(prompt="p", answer="tuned says", before="base says", score=-3.0)], imitate=True)
    assert "The assistant's own answer: base says\nThe model's answer: tuned says" in told
    assert "imitated" in told


def test_a_module_is_named_where_there_are_several() -> None:
    assert "'plan'" in ChatWriter(Answering("")).question({"plan": "a", "act": "b"}, "plan", ITEMS)


def test_evidence_stands_in_a_section_of_its_own() -> None:
    told = question(ITEMS, evidence=["says 'acme' (0% → 97%)", "no longer says 'maybe'"])
    assert "Known from elsewhere, not from these tasks:\n- says 'acme' (0% → 97%)\n- no longer says 'maybe'\n" in told
    assert "Known from elsewhere" not in question(ITEMS)


# ----------------------------------------------------------------------------------------------------------- budget

PIECES = {"": 0, "short .": 1, "p": 10**6, "word ": 200_000, "火": 10**6, "{}\n": 300_000}
HUGE = st.sampled_from(list(PIECES))  # by name: a failing example is printed


@pytest.mark.medium
@settings(max_examples=30)
@given(
    items=st.lists(st.tuples(HUGE, HUGE, HUGE, HUGE), max_size=7),
    text=HUGE,
    evidence=st.lists(HUGE, max_size=3),
    supposed=HUGE,
    tokens=st.integers(600, 5000),
    open_model=st.booleans(),
)
def test_no_prompt_exceeds_its_budget(items, text, evidence, supposed, tokens, open_model) -> None:
    class Open(Wordy):
        def generate(self, conversations, sampling):
            return model.generate(conversations, sampling)

    huge = {piece: piece * times for piece, times in PIECES.items()}
    model = Answering(
        f"HYPOTHESIS 1: x {huge[supposed][:20_000]}\nSUPPORTED BY: 1, 2, 3\nCONTRADICTED BY: 4", "no text"
    )
    shown = [
        Item(prompt=huge[p], answer=huge[a], feedback=huge[f], other=huge[o], score=float(i), other_score=0.5)
        for i, (p, a, f, o) in enumerate(items)
    ]
    asked = Open() if open_model else model
    found = ChatWriter(asked, ReflectConfig(prompt_tokens=tokens), evidence=[huge[one] for one in evidence]).propose(
        {"text": huge[text]}, "text", shown, 0
    )
    count = Room(asked, tokens).count if open_model else estimated
    assert len(model.asked) == 2
    assert all(count(told) <= tokens for told, _ in model.asked)
    assert "HYPOTHESIS 1: one sentence" in model.asked[0][0]
    assert model.asked[1][0].endswith("At most 200 words.")
    assert found.hypotheses


def test_where_there_is_no_room_evidence_goes_before_tasks_and_the_middling_tasks_before_the_worst_and_best() -> None:
    items = [Item(prompt=f"p{i} " + "x" * 500, answer="a" * 500, score=float(i)) for i in range(9)]
    writer = ChatWriter(Answering(""), ReflectConfig(prompt_tokens=800), evidence=["e" * 500] * 4)
    told = writer.question({"text": "t"}, "text", items)
    shown = [i for i in range(9) if f"--- {i + 1} (" in told]
    assert "Known from elsewhere" not in told
    assert 2 <= len(shown) < 9
    assert {0, 8} <= set(shown)


def test_a_budget_too_small_for_our_own_words_is_the_users_to_mend() -> None:
    class Letters(Wordy):
        def encode_answer(self, answer: str) -> list[int]:
            return [0] * 2 * len(answer)

        def encode(self, conversation):
            return [0] * 2 * len(conversation[-1].content)

    with pytest.raises(UserError, match="prompt_tokens"):
        ChatWriter(Letters(), ReflectConfig(prompt_tokens=600)).propose({"text": ""}, "text", ITEMS, 0)
