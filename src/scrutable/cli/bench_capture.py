"""`scrutable bench capture`: what does it cost to read a model's inside?"""

from __future__ import annotations

import click

from scrutable.bench import capture as benching
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.screen import Screen, common


@click.command(name="capture", cls=Verb)
@common(run=False, seed=False)
@knobs(benching.CaptureConfig)
def capture(screen: Screen) -> None:
    """Time captures, differences and injections over a bare forward pass, in turn; some minutes."""
    screen.result(benching.capture(config_of(benching.CaptureConfig), screen.say))
