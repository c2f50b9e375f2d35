"""`scrutable bench selection`: does the test of children keep its promise, and does the reported interval?"""

from __future__ import annotations

import click

from scrutable.bench import selection as benching
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.screen import Screen, common


@click.command(name="selection", cls=Verb)
@common(run=False, seed=False)
@knobs(benching.SelectionConfig)
def selection(screen: Screen) -> None:
    """Simulate children whose worth is known, and runs whose truth is known; some ten minutes."""
    screen.result(benching.selection(config_of(benching.SelectionConfig), screen.say))
