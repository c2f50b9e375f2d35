"""What stands below the first screen."""

from __future__ import annotations

from pathlib import Path

from tests.report.synthetic import CONFIG, PROMPTS, write_search

from scrutable.core.accounts import Account, Claim, Evidence
from scrutable.core.journal import Run
from scrutable.report.gather import gather
from scrutable.report.nodes import ClaimNode, Curve, Note, Section, Table
from scrutable.report.sections import MOST_EXHIBITS, sections
from scrutable.report.words import plain


def made(folder: Path) -> dict[str, Section]:
    return {section.title: section for section in sections(gather(Run.read(folder)))}


def tables(section: Section) -> dict[str, Table]:
    return {node.caption: node for node in section.nodes if isinstance(node, Table)}


def test_the_parts_stand_in_the_order_of_the_question(run_folder: Path) -> None:
    assert list(made(run_folder)) == [
        "What the distill lens read",
        "What the tokens lens read",
        "How much they carry, in full",
        "How training went",
        "How the texts came about",
        "Reward and length of the texts",
        "What failed",
        "What it cost",
        "How to reproduce it",
    ]


def test_a_claim_shows_the_task_before_after_and_by_base_and_text(run_folder: Path) -> None:
    claim = made(run_folder)["What the distill lens read"].nodes[0]
    assert isinstance(claim, ClaimNode)
    exhibit = claim.exhibits[0]
    prompt, before, after = PROMPTS[0]
    assert (exhibit.prompt, plain(exhibit.after)) == (prompt, after)
    assert "".join(piece.text for piece in exhibit.before) == before
    assert exhibit.with_text is not None
    assert {piece.mark for piece in exhibit.with_text} == {"same"}


def test_evidence_that_is_not_shown_is_counted(tmp_path: Path) -> None:
    many = tuple(Evidence(task=str(at), prompt="p", before="a", after="b") for at in range(MOST_EXHIBITS + 5))
    with Run.open(tmp_path / "run", CONFIG) as run:
        run.append("read/account", "account", Account(lens="tokens", claims=(Claim(says="x", evidence=many),)))
    claim = made(tmp_path / "run")["What the tokens lens read"].nodes[0]
    assert isinstance(claim, ClaimNode)
    assert (len(claim.exhibits), claim.held_back) == (MOST_EXHIBITS, 5)


def test_every_share_is_in_a_table_with_its_nulls(run_folder: Path) -> None:
    table = tables(made(run_folder)["How much they carry, in full"])["Shares: read from the weights"]
    assert table.rows[0] == ("KL recovered", "98.1%", "97.3 to 98.5%", "3.2% (of 20)", "−22%", "88.1% (68.1 to 96.1%)")
    assert len(table.rows) == 5


def test_rewards_and_fluency_are_tables_by_speaker(run_folder: Path) -> None:
    found = tables(made(run_folder)["How much they carry, in full"])
    assert found["Rewards"].columns == ("measure", "base", "tuned", "base + text")
    assert [row[0] for row in found["Rewards"].rows] == ["proxy", "true"]


def test_the_curve_has_proxy_and_true_reward_and_says_in_words_what_it_shows(run_folder: Path) -> None:
    curve = made(run_folder)["How training went"].nodes[0]
    assert isinstance(curve, Curve)
    assert [(line.name, line.marks) for line in curve.lines] == [
        ("proxy reward", False),
        ("proxy reward, validation", True),
        ("true reward", False),
        ("true reward, validation", True),
    ]
    assert "proxy reward from 0.64 to 0.98; true reward from 0.95 to 0.76" in curve.says


def test_cost_is_told_by_part_and_in_all(run_folder: Path) -> None:
    rows = tables(made(run_folder)["What it cost"])["By part of the run"].rows
    assert [row[0] for row in rows] == ["train", "evolve", "read", "measure", "in all"]


def test_a_run_can_be_made_again(run_folder: Path) -> None:
    section = made(run_folder)["How to reproduce it"]
    assert section.nodes[0].model_dump()["lines"] == ("scrutable demo --seed 7", "scrutable report demo")
    assert ("train.learning_rate", "0.0005") in tables(section)["Config"].rows
    assert ("torch", "2.13.0") in tables(section)["Versions"].rows


def test_an_empty_run_has_only_its_config(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG):
        pass
    assert list(made(tmp_path / "run")) == ["How to reproduce it"]


def test_a_search_tells_its_score_on_tasks_that_decided_nothing(tmp_path: Path) -> None:
    score = {"value": 0.9, "low": 0.85, "high": 0.95}
    with Run.open(tmp_path / "run", CONFIG) as run:
        write_search(run.scope("evolve"))
        result = {"base": {"value": 0.6}, "score": score, "gain": None, "stopped": "no better text in 6 rounds"}
        run.append("evolve/result", "result", result)
    notes = [node.text for node in made(tmp_path / "run")["How the texts came about"].nodes if isinstance(node, Note)]
    assert "On tasks that decided nothing the score went from 0.6 to 0.9 (0.85 to 0.95)." in notes
    assert "It ended because no better text in 6 rounds." in notes
