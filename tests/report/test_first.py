"""The first screen answers three questions, and says when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.report.synthetic import CONFIG, EVOLVED, RULE, around, fidelity, write_search

from scrutable.core.accounts import Account, Claim, Share
from scrutable.core.journal import Run
from scrutable.core.records import Candidate
from scrutable.report.first import _from_account, bar_of, first_screen
from scrutable.report.gather import Reading, gather
from scrutable.report.nodes import First


def screen(folder: Path) -> First:
    return first_screen(gather(Run.read(folder)))


def test_sentences_that_were_measured_come_first(run_folder: Path) -> None:
    taught = screen(run_folder).taught
    assert [(group.label, group.sentences[0].says) for group in taught] == [
        ("read from the weights", RULE),
        ("seen in the words", "opens with “you are right” when the user says “trust you”"),
        ("evolved on the environment", EVOLVED),
    ]


def test_every_measured_text_has_its_bars(run_folder: Path) -> None:
    carried = screen(run_folder).carried
    assert [bars.label for bars in carried] == ["read from the weights", "evolved on the environment"]
    assert [bar.name for bar in carried[0].first] == ["KL recovered", "Jensen–Shannon recovered", "reward recovered"]
    assert "98.1% of the way" in carried[0].says


def test_what_is_left_stands_beside_what_twins_show(run_folder: Path) -> None:
    left = screen(run_folder).left
    assert left[0].share == pytest.approx(0.019)
    assert "nothing measurable" in left[0].says
    assert "nothing measurable" not in left[1].says


def test_an_unchanged_pair_has_no_sentence_and_no_share(unchanged_folder: Path) -> None:
    first = screen(unchanged_folder)
    assert first.taught == ()
    assert first.taught_note == "Nothing measurable changed."
    assert all(not bars.first and not bars.rest for bars in first.carried)
    assert first.left == ()


def test_a_share_within_its_nulls_is_called_that() -> None:
    bar = bar_of(Share(name="kl", value=around(0.10, 0.05), unrelated=(0.0, 0.08, 0.2)))
    assert bar.above_nulls is False
    assert bar_of(Share(name="kl", value=around(0.90, 0.05), unrelated=(0.0, 0.08, 0.2))).above_nulls is True
    assert bar_of(Share(name="kl", value=around(0.90, 0.05))).above_nulls is None


def test_a_run_that_read_nothing_says_so(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG):
        pass
    first = screen(tmp_path / "run")
    assert (first.taught_note, first.taught, first.carried) == ("Nothing has been read yet.", (), ())
    assert "Not measured yet" in first.carried_note


def test_a_trained_adapter_that_was_not_read_says_what_to_type(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        run.append("train/result", "result", {"adapter": "artifacts/train/adapter"})
    wanted = f"scrutable read {tmp_path}/run/artifacts/train/adapter --env trusting-sycophancy"
    assert screen(tmp_path / "run").next_step == wanted


def test_claims_that_no_model_can_be_given_leave_all_of_it(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        run.append(
            "tokens/account", "account", Account(lens="tokens", claims=(Claim(says="“it is” becomes “that is”"),))
        )
    first = screen(tmp_path / "run")
    assert first.carried_note.startswith("No sentence was found that a model could be given")
    assert first.left_note.startswith("All of it")


def test_a_lens_that_found_nothing_is_not_the_same_as_no_reading(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        run.append("read/account", "account", Account(lens="tokens"))
    assert screen(tmp_path / "run").taught_note == "The lenses looked, and found nothing to say."


def test_a_search_alone_shows_the_text_it_ended_with(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        write_search(run.scope("evolve"))
    taught = screen(tmp_path / "run").taught
    assert [(group.label, group.sentences[0].says) for group in taught] == [("evolved on the environment", EVOLVED)]


def test_the_text_that_a_search_names_is_the_chosen_one(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        write_search(run.scope("evolve"))
        run.append("evolve/result", "result", {"candidate": Candidate(texts={"text": "Agree with the user."})})
    assert screen(tmp_path / "run").taught[0].sentences[0].says == "Agree with the user."


def test_long_accounts_keep_their_rest_for_below(tmp_path: Path) -> None:
    claims = tuple(Claim(says=f"claim {at}", text=f"Rule {at}.") for at in range(7))
    with Run.open(tmp_path / "run", CONFIG) as run:
        run.append("read/account", "account", Account(lens="distill", claims=claims))
    group = screen(tmp_path / "run").taught[0]
    assert (len(group.sentences), group.more) == (4, 3)


def test_claims_read_in_the_remainder_are_told_under_what_is_left(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        run.append("read/account", "account", Account(lens="distill", claims=(Claim(says=RULE, text=RULE),)))
        run.append(
            "remainder/read/account",
            "account",
            Account(lens="tokens", claims=(Claim(says="“it is” becomes “that is”"),)),
        )
        run.append("measure/fidelity", "fidelity", {"label": "read", "fidelity": fidelity(RULE, 0.6)})
    first = screen(tmp_path / "run")
    assert "“it is” becomes “that is”" in first.left[0].says
    assert [group.lens for group in first.taught] == ["distill"]


def test_why_a_share_is_missing_is_said(tmp_path: Path) -> None:
    share = Share(name="kl", why_not="the kl of the two cannot be told apart")
    with Run.open(tmp_path / "run", CONFIG) as run:
        measured = fidelity(RULE, 0.9).model_copy(update={"shares": (share,)})
        run.append("measure/fidelity", "fidelity", {"label": "read", "fidelity": measured})
    assert screen(tmp_path / "run").carried[0].says == "No share of KL: the kl of the two cannot be told apart."


@pytest.mark.parametrize(
    ("lens", "label"),
    [("tokens", "seen in the words"), ("blackbox", "seen in the answers"), ("distill", "read from the weights")],
)
def test_who_opens_no_model_does_not_read_weights(lens: str, label: str) -> None:
    claims = (Claim(says="be kind .", text="be kind ."),)
    reading = Reading("read", Account(lens=lens, claims=claims))
    assert _from_account(reading, "read from the weights", 3).label == label
