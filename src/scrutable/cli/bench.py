"""`scrutable bench`: the scoreboard, one verb a bench. A new bench is one entry in the table and one command in a file."""

from __future__ import annotations

from collections.abc import Mapping

import click

from scrutable.cli.frame import Verbs

# name -> (where the command is, what it does in one line)
BENCHES: Mapping[str, tuple[str, str]] = {
    "engine": (
        "scrutable.cli.bench_engine:engine",
        "Seconds a proposal under latency, ours and gepa's; each engine's own time.",
    ),
    "selection": (
        "scrutable.cli.bench_selection:selection",
        "Simulated: false accepts and power of the gate, coverage of the reported score.",
    ),
    "staleness": (
        "scrutable.cli.bench_staleness:staleness",
        "Does it cost rollouts to begin proposals before others have ended?",
    ),
    "validation": (
        "scrutable.cli.bench_validation:validation",
        "What does it cost, or bring, not to score every child on the whole pool?",
    ),
    "evolve": (
        "scrutable.cli.bench_evolve:evolve",
        "Rollouts until a text earns what RL earns, ours and gepa's.",
    ),
    "rl-to-text": (
        "scrutable.cli.bench_rl_to_text:rl_to_text",
        "RL teaches a known rule; is the text read back right?",
    ),
    "hard-environments": (
        "scrutable.cli.bench_hard_environments:hard_environments",
        "The environments that tell searches apart: what is there to earn, and what does RL?",
    ),
    "worth": (
        "scrutable.cli.bench_worth:worth",
        "Is the worth of sentences right, and do sanitise and shorten keep what is good?",
    ),
    "compare": (
        "scrutable.cli.bench_compare:compare",
        "Planted runs are compared; are the behaviours told apart, and no more of them?",
    ),
    "capture": (
        "scrutable.cli.bench_capture:capture",
        "What reading a model's inside costs over a bare forward pass; injection in one write and in a loop.",
    ),
    "with-rl": (
        "scrutable.cli.bench_with_rl:with_rl",
        "Text and RL, alone and together, from the same number of rollouts; what is left for RL to learn?",
    ),
}


@click.group(cls=Verbs, table=BENCHES)
def bench() -> None:
    """Run the scoreboard. Every bench resumes, and writes its figures with --json FILE."""
