"""The end: the best is chosen, pruned to what helps, and scored on tasks that decided nothing."""

from collections.abc import Sequence
from dataclasses import replace

from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Rollout, Score, Task, digest_of
from scrutable.core.sequential import Standard
from scrutable.evolve.finish import Rule, finish
from scrutable.evolve.ledger import Cell, Keyed, Ledger, Limits
from scrutable.evolve.parts import Parts


def keyed(name: str, count: int) -> tuple[Keyed, ...]:
    return tuple((task.key, task) for task in (Task.ask(f"{name} {i}") for i in range(count)))


CHOOSE, FINAL = keyed("choose", 60), keyed("final", 60)
PARTS = Parts((), (), CHOOSE, FINAL)
RULE = Rule(Standard())
GOOD = {"a .": 1.0, "b .": 0.5, "idle .": 0.0, "harm .": -1.0}


class Adding:
    """A text scores the sum of its sentences, on every other task; on other splits of tasks as `shift` says."""

    identity = "adding"

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        return [Rollout(task=c.key, candidate=c.candidate_key, answer="", score=self.one(c)) for c in cells]

    def one(self, cell: Cell) -> Score:
        worth = sum(value for sentence, value in GOOD.items() if sentence in cell.candidate.text)
        return Score(value=worth if int(cell.task.prompt.split()[1]) % 2 else 0.0)


def text(told: str) -> Candidate:
    return Candidate(texts={"text": told}, parents=("x",) if told else ())


def ended(run: Run, finalists: Sequence[str], budget: int = 10_000, scorer: Adding | None = None):
    ledger = Ledger(run, scorer or Adding(), Limits(budget))
    return finish(ledger, text(""), [text(one) for one in finalists], PARTS, RULE), ledger


def test_the_best_is_pruned_to_the_sentences_that_help() -> None:
    with Run.temporary({"seed": 0}) as run:
        ending, _ = ended(run, ["a .", "a . idle . b .", "harm ."])
        assert ending.best.text == "a . b ."
        assert ending.best.origin == "pruning"


def test_what_each_sentence_is_worth_is_told_and_where() -> None:
    with Run.temporary({"seed": 0}) as run:
        ending, _ = ended(run, ["a . b ."])
        assert [(one.sentence, one.gain.value if one.gain else None) for one in ending.worth] == [
            ("a .", 0.5),
            ("b .", 0.25),
        ]
        odd = {key for key, task in FINAL if int(task.prompt.split()[1]) % 2}
        assert set(ending.worth[0].tasks) <= odd


def test_a_sentence_worth_less_than_what_counts_is_removed() -> None:
    with Run.temporary({"seed": 0}) as run:
        ledger = Ledger(run, Adding(), Limits(10_000))
        rule = replace(RULE, least=0.3)
        assert finish(ledger, text(""), [text("a . b .")], PARTS, rule).best.text == "a ."


def test_of_two_wordings_of_one_thing_one_is_left() -> None:
    class Either(Adding):
        def one(self, cell: Cell) -> Score:
            return Score(value=float("a ." in cell.candidate.text or "b ." in cell.candidate.text))

    with Run.temporary({"seed": 0}) as run:
        ending, _ = ended(run, ["a . b ."], scorer=Either())
        assert ending.best.text in ("a .", "b .")


def test_the_score_is_of_tasks_that_decided_nothing() -> None:
    class Lucky(Adding):
        def one(self, cell: Cell) -> Score:
            lucky = cell.task.prompt.startswith("choose") and cell.candidate.text == "a ."
            return Score(value=1.0 if lucky else 0.0)

    with Run.temporary({"seed": 0}) as run:
        ending, _ = ended(run, ["a ."], scorer=Lucky())
        assert ending.best.text == "a ."
        assert ending.score is not None
        assert ending.score.value == 0.0


def test_of_equals_the_shorter_is_chosen() -> None:
    with Run.temporary({"seed": 0}) as run:
        assert ended(run, ["a . idle .", "a ."])[0].best.text == "a ."


def test_a_text_that_makes_hard_tasks_unscorable_is_not_chosen_for_it() -> None:
    class Hiding(Adding):
        def one(self, cell: Cell) -> Score:
            hard, worth = int(cell.task.prompt.split()[1]) % 2, 0.9 if cell.candidate.text == "a . b ." else 0.2
            return Score(value=None if hard and cell.candidate.text == "hide ." else worth if hard else 1.0)

    with Run.temporary({"seed": 0}) as run:
        assert ended(run, ["a . b .", "hide ."], scorer=Hiding())[0].best.text == "a . b ."
    with Run.temporary({"seed": 0}) as run:
        assert ended(run, ["hide ."], scorer=Hiding())[0].best.text == ""


def test_where_nothing_is_better_the_start_stays() -> None:
    with Run.temporary({"seed": 0}) as run:
        ending, _ = ended(run, ["idle .", "harm ."])
        assert ending.best.text == ""
        assert ending.gain is not None
        assert ending.gain.value == 0.0
        assert not ending.worth


def test_a_budget_too_small_for_pruning_is_said_and_the_score_still_had() -> None:
    with Run.temporary({"seed": 0}) as run:
        ending, ledger = ended(run, ["a . b ."], budget=120 + 12)
        assert ending.best.text == "a . b ."
        assert ending.score is not None
        assert [note.split(":")[0] for note in ending.notes] == [
            "some sentences were not tried without",
            "what each sentence is worth was not measured",
        ]
        assert ledger.spent == 120


def test_a_budget_too_small_for_anything_is_said() -> None:
    with Run.temporary({"seed": 0}) as run:
        ending, ledger = ended(run, ["a ."], budget=5)
        assert (ending.best.text, ending.score, ledger.spent) == ("a .", None, 0)
        assert "cut short" in ending.notes[-1]


def test_the_searchs_best_stays_unless_another_is_shown_to_be_better() -> None:
    """A gain too small to be told by the tasks there are is left to the search, which saw more."""

    class Noisy(Adding):
        def one(self, cell: Cell) -> Score:
            coin = int(digest_of([cell.candidate.text, cell.key]), 16) % 2
            return Score(value=coin + {"a .": 0.0, "b .": 0.02, "c .": 2.0}.get(cell.candidate.text, -3.0))

    with Run.temporary({"seed": 0}) as run:
        assert ended(run, ["a .", "b ."], scorer=Noisy())[0].best.text == "a ."
        assert ended(run, ["a .", "b .", "c ."], scorer=Noisy())[0].best.text == "c ."


def test_clear_cases_cost_little() -> None:
    """Two finalists, one far better: by the second look all is decided."""
    with Run.temporary({"seed": 0}) as run:
        ending, ledger = ended(run, ["a .", "harm ."])
        assert ending.best.text == "a ."
        assert ledger.spent - 2 * len(FINAL) <= 3 * 24


def test_with_few_tasks_to_choose_on_the_searchs_tasks_say_too_whether_a_sentence_stays() -> None:
    class OnPool(Adding):
        def one(self, cell: Cell) -> Score:
            return Score(value=float(cell.task.prompt.startswith("pool") and "a ." in cell.candidate.text))

    pool = keyed("pool", 60)
    for count, left in ((10, "a ."), (30, "")):
        with Run.temporary({"seed": 0}) as run:
            parts = Parts((), pool, CHOOSE[:count], FINAL)
            ledger = Ledger(run, OnPool(), Limits(10_000))
            assert finish(ledger, text(""), [text("a .")], parts, RULE).best.text == left


def test_what_the_end_decides_depends_on_no_order_of_events_before_it() -> None:
    with Run.temporary({"seed": 0}) as one, Run.temporary({"seed": 0}) as other:
        ledger = Ledger(other, Adding(), Limits(10_000))
        ledger.ask([text("a . b .")], CHOOSE[20:40])  # known already, for whatever reason
        again = finish(ledger, text(""), [text("a . idle . b .")], PARTS, RULE)
        assert again.best == ended(one, ["a . idle . b ."])[0].best


class Fifth(Adding):
    """ "few ." earns on every fifth task alone, "idle ." nothing."""

    def one(self, cell: Cell) -> Score:
        number = int(cell.task.prompt.split()[1])
        return Score(value=float("few ." in cell.candidate.text and number % 5 == 0))


def test_a_rule_for_a_fifth_of_the_tasks_is_not_pruned_for_want_of_tasks() -> None:
    """On thirty tasks its worth cannot be shown at the rate of error that is asked for; it seems to help, so it stays."""
    parts = Parts((), (), CHOOSE[:30], FINAL[:30])
    for seed in range(5):
        with Run.temporary({"seed": seed}) as run:
            ledger = Ledger(run, Fifth(), Limits(10_000))
            assert finish(ledger, text(""), [text("idle . few .")], parts, RULE).best.text == "few ."


def test_each_sentence_is_tried_without_once_the_least_known_good_first() -> None:
    with Run.temporary({"seed": 0}) as run:
        ledger = Ledger(run, Adding(), Limits(10_000))
        rule = replace(RULE, worth=lambda module, sentence: {"a .": 0.5, "idle .": 0.2, "b .": 0.1}[sentence])
        finish(ledger, text(""), [text("a . idle . b .")], PARTS, rule)
        told = [one.payload["rollouts"] for one in run.events("rollouts")]
        tried = [key for batch in told for key in dict.fromkeys(one["candidate"] for one in batch)]
        first = [text(one).key for one in ("a . idle .", "a . b .", "b .")]
        assert [key for key in dict.fromkeys(tried) if key in first] == first
