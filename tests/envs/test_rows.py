"""Rows made into tasks and splits."""

from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrutable.core.errors import UserError
from scrutable.core.records import SPLITS
from scrutable.envs.rows import SHARES, assign, make_table, prompt_key, read_shares

prompts = st.text(min_size=1).filter(str.strip)


def entries(rows):
    return [(f"rows[{i}]", row) for i, row in enumerate(rows)]


def asked(count):
    return entries({"prompt": f"question {i}"} for i in range(count))


def homes(table):
    return {task.key: split for split, tasks in table.tasks.items() for task in tasks}


@given(st.lists(prompts, min_size=1, unique=True), st.randoms())
def test_splits_do_not_depend_on_the_order_of_rows(found, random):
    rows = [{"prompt": p} for p in found]
    shuffled = random.sample(rows, len(rows))
    assert homes(make_table(entries(rows))) == homes(make_table(entries(shuffled)))


@given(st.lists(st.tuples(prompts, st.integers(0, 3)), min_size=1))
def test_no_prompt_stands_in_two_splits_and_none_is_lost(pairs):
    table = make_table(entries({"prompt": p, "n": n} for p, n in pairs))
    keys = [{prompt_key(t) for t in table.tasks[split]} for split in SPLITS]
    assert all(not (a & b) for a, b in combinations(keys, 2))
    assert {(t.prompt, t.columns["n"]) for t in chain(*table.tasks.values())} == set(pairs)
    assert table.duplicates == len(pairs) - len(set(pairs))


@given(st.sets(st.integers(), min_size=3, max_size=12))
def test_three_prompts_are_enough_for_three_splits(numbers):
    assert set(assign(map(str, numbers)).values()) == set(SPLITS)


def test_a_file_that_grows_keeps_its_prompts_where_they_were():
    small, large = homes(make_table(asked(100))), homes(make_table(asked(200)))
    assert all(large[key] == split for key, split in small.items())


def test_sizes_follow_the_shares():
    table = make_table(asked(3000))
    for split, share in SHARES.items():
        assert len(table.tasks[split]) == pytest.approx(3000 * share, abs=100)


def test_a_split_without_a_share_gets_nothing():
    table = make_table(asked(50), read_shares({"search": 3, "keep": 0, "report": 1}))
    assert not table.tasks["keep"]
    assert len(table.tasks["search"]) > len(table.tasks["report"]) > 0


def test_prompts_that_differ_in_white_space_share_a_split():
    table = make_table(entries({"prompt": f"what{' ' * i} now ?", "i": i} for i in range(1, 30)))
    assert sum(bool(tasks) for tasks in table.tasks.values()) == 1


def test_a_row_may_say_its_split():
    table = make_table(entries({"prompt": split, "split": split} for split in SPLITS))
    assert {split: [t.prompt for t in tasks] for split, tasks in table.tasks.items()} == {s: [s] for s in SPLITS}


def test_the_split_is_no_column():
    assert make_table(entries([{"prompt": "a", "split": "keep", "x": 1}])).columns == ("x",)


def test_tasks_keep_the_order_of_rows():
    table = make_table(entries({"prompt": f"{i}", "split": "search"} for i in range(20)))
    assert [t.prompt for t in table.tasks["search"]] == [str(i) for i in range(20)]


def test_the_digest_depends_on_content_and_not_on_order():
    assert make_table(asked(9)).digest() == make_table(reversed(asked(9))).digest()
    assert make_table(asked(9)).digest() != make_table(asked(10)).digest()


def test_messages_are_kept_with_their_roles():
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}]
    table = make_table(entries([{"prompt": messages, "split": "search"}]))
    assert [m.model_dump() for m in table.tasks["search"][0].messages] == messages
    assert table.conversational


def test_tuples_and_arrays_become_lists():
    numpy = pytest.importorskip("numpy")
    table = make_table(
        entries([{"prompt": "a", "t": (1, 2), "a": numpy.arange(2), "f": numpy.float32(0.5), "split": "search"}])
    )
    assert table.tasks["search"][0].columns == {"t": [1, 2], "a": [0, 1], "f": 0.5}


USER, SYSTEM = {"role": "user", "content": "hi"}, {"role": "system", "content": "be kind"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no rows"),
        (["hello"], "rows[0] is a str"),
        ([{"prompt": "a"}, {"question": "b"}], "rows[1] has no `prompt` (it has `question`)"),
        ([{"prompt": "  "}], "the prompt is empty"),
        ([{"prompt": 3}], "must be a string or a list of messages"),
        ([{"prompt": []}], "must be a string or a list of messages"),
        ([{"prompt": ["hello"]}], "a message must be"),
        ([{"prompt": [{"role": "tool", "content": "x"}]}], "a message must be"),
        ([{"prompt": [USER, SYSTEM, USER]}], "must come first"),
        ([{"prompt": [USER, {"role": "assistant", "content": "x"}]}], "must be the user's"),
        ([{"prompt": "a"}, {"prompt": [USER]}], "use one form"),
        ([{"prompt": "a", "split": "train"}], "use one of search, keep, report"),
        ([{"prompt": "a", "split": "keep"}, {"prompt": "b"}], "mark all of them, or none"),
        ([{"prompt": "a", "split": "keep"}, {"prompt": "a ", "split": "report"}], "use one for both"),
        ([{"prompt": "a", "f": print}], "column `f` holds a builtin_function_or_method"),
        ([{"prompt": "a", "d": {1: 2}}], "make them strings"),
        ([{"prompt": "a", "completions": "b"}], "rename it"),
    ],
)
def test_bad_rows_are_answered_by_one_line(rows, said):
    with pytest.raises(UserError) as caught:
        make_table(entries(rows))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", [[0.5, 0.5], {"train": 1}, {"search": -1}, {"search": "all"}, {"search": 0}, {"search": True}]
)
def test_bad_shares_are_answered_by_one_line(value):
    with pytest.raises(UserError, match=r"^`splits"):
        read_shares(value)
