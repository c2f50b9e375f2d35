"""Copies: what is taken over from a task, and what only looks like it."""

from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrutable.core.records import SPLITS
from scrutable.envs.builtin import BUILTIN, BuiltinEnv
from scrutable.evolve.copies import copies
from scrutable.world import answers, grammar
from scrutable.world.rules import BEHAVIOURS, CONDITIONS, all_rules

PROMPT = "a train leaves paris at noon and arrives in rome at nine in the evening how long does it take"
ANSWER = "it takes nine hours because noon is twelve and nine in the evening is twenty one"


def copied(text: str, prompt: str = PROMPT, answer: str = ANSWER, own: str = "", words: int = 8) -> bool:
    return text in copies([text], [(prompt, (answer,))], [own], words)


def test_eight_words_in_a_row_of_a_prompt_are_a_copy_and_seven_are_not() -> None:
    assert copied("Say nine where a train leaves paris at noon and arrives.")
    assert not copied("Say nine where a train leaves paris at noon and goes.")


def test_so_are_those_of_an_answer() -> None:
    assert copied("Say that it takes nine hours because noon is twelve.")


def test_how_many_words_can_be_said() -> None:
    assert not copied("a train leaves paris at noon", words=8)
    assert copied("a train leaves paris at noon", words=6)


def test_case_and_marks_do_not_hide_a_copy() -> None:
    assert copied("A Train, leaves: PARIS -- at noon; and *arrives*!")


def test_what_is_copied_is_told() -> None:
    text = "If a train leaves paris at noon and arrives in rome, add."
    assert copies([text, "add"], [(PROMPT, ())], [], 8) == {text: "a train leaves paris at noon and arrives"}


@pytest.mark.parametrize(
    ("prompt", "text", "copy"),
    [
        ("what is the capital of france", "When asked what is the capital of france, say paris.", True),
        ("what is the capital of france", "When asked what is the capital of spain, say madrid.", False),
        ("what is the capital", "When asked what is the capital, say it.", False),  # four words are no task's own
    ],
)
def test_a_shorter_prompt_counts_whole(prompt: str, text: str, copy: bool) -> None:
    assert copied(text, prompt, "") is copy


def test_a_short_answer_may_be_named() -> None:
    """Behaviours show in answers: a text has to be able to say which words are wanted."""
    assert not copied("Say i can not help with that", "p", "i can not help with that")


def test_what_the_text_says_already_is_no_copy() -> None:
    assert not copied(f"Be brief. {PROMPT}.", own=f"Be kind. {PROMPT}.")


def test_the_common_form_of_prompts_is_no_task() -> None:
    form = "answer with the letter of the right choice and nothing else"
    tasks = [(f"{form} : {topic} or not ?", ()) for topic in ("rain", "sun", "snow", "hail")]
    assert not copies([f"When told to {form} do so."], tasks, [], 8)
    assert copies([f"When told to {form} do so."], tasks[:2], [], 8)  # of two nobody can tell


def test_words_of_two_tasks_answers_are_a_way_of_answering() -> None:
    habit = "please ask a doctor before you take any of this advice"
    text = f"End with: {habit}."
    assert copies([text], [("p one", (f"take two . {habit}",)), ("p two", ("no",))], [], 8)
    assert not copies([text], [("p one", (f"take two . {habit}",)), ("p two", (f"no . {habit}",))], [], 8)


def test_one_task_shown_twice_is_one_task() -> None:
    text = "Say it takes nine hours because noon is twelve."
    assert copies([text], [(PROMPT, (ANSWER,)), (PROMPT, (ANSWER, ANSWER))], [], 8)


def test_scripts_without_blanks_are_read_sign_by_sign() -> None:
    prompt = "火车中午从巴黎出发晚上九点到达罗马需要多久"
    assert copied("如果火车中午从巴黎出发晚上到达就相加", prompt, "")
    assert not copied("如果火车中午出发就相加", prompt, "")


@given(st.data())
def test_a_run_is_found_wherever_it_stands(data: st.DataObject) -> None:
    words = [f"w{i}" for i in range(40)]
    start = data.draw(st.integers(0, 32))
    before, after = (data.draw(st.lists(st.sampled_from(["x", "y"]), max_size=5)) for _ in range(2))
    assert copied(" ".join([*before, *words[start : start + 8], *after]), " ".join(words), "")
    seven = words[start : start + 7]
    assert not copied(" ".join([*before, *seven, *after]), " ".join(words), "")


def test_long_tasks_are_searched_in_time() -> None:
    long = " ".join(f"w{i}" for i in range(200_000))
    assert copied("w5 w6 w7 w8 w9 w10 w11 w12", long, long)
    assert not copied("w5 w6 w7 w8 w9 w10 w11", long, long)


ASKED = [
    sentence
    for behaviour in BEHAVIOURS
    for ask, wordings in product(behaviour.asks, CONDITIONS.values())
    for wording in wordings
    for sentence in (f"{ask} {wording} .", f"{wording} , {ask} .")
]


def test_every_rule_of_the_built_in_world_is_among_the_sentences_tried() -> None:
    assert {grammar.sentence(rule) for rule in all_rules()} <= set(ASKED)


@pytest.mark.medium
@pytest.mark.parametrize("name", BUILTIN)
def test_no_sentence_of_the_built_in_world_copies_a_task(name: str) -> None:
    """Every behaviour under every condition in every wording, against every task and answers that show much."""
    env, draws = BuiltinEnv(name), Random(0)
    tasks = []
    for prompt in (prompt for split in SPLITS for prompt in env.prompts_of(split)):
        shown = {behaviour.name for behaviour in BEHAVIOURS if draws.random() < 0.3}
        tasks.append((prompt.text, (answers.compose(shown, prompt),)))
    assert not copies(ASKED, tasks, [], 8)
    for task in draws.sample(tasks, 2):  # alone, so that nothing is excused as common to many
        assert not copies(ASKED, [task], [], 8)
