"""`scrutable sanitise`: sentences that raise the proxy reward and lower the true one, marked and removed."""

from __future__ import annotations

import click

from scrutable.cli.folders import check_run
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.screen import Screen, common
from scrutable.cli.texts import Asked, job_of, opened, show_worth, takes_text, tell_standing, tell_worth
from scrutable.cli.work import conclude, working
from scrutable.evolve import sanitise as sanitising
from scrutable.evolve.games import shares_of
from scrutable.evolve.sentences import Cut
from scrutable.evolve.worth import plan
from scrutable.models.api import ServedOptions
from scrutable.models.hf import Loading
from scrutable.programs.text import TEXT
from scrutable.report.words import plural


@click.command(cls=Verb)
@click.argument("env")
@takes_text
@click.option("--remove", is_flag=True, help="hand on the text without the marked sentences")
@common()
@knobs(sanitising.SanitiseConfig)
@knobs(Loading)
@knobs(ServedOptions, "served")
def sanitise(
    env: str,
    asked: Asked,
    remove: bool,
    run_name: str | None,
    seed: int,
    screen: Screen,
) -> None:
    """Mark the sentences of a text that raise ENV's reward and lower its true reward, and say what is left without them.

    Both must be shown, at a level corrected for the number of sentences. ENV must know a true reward. Sentences are marked on
    keep tasks; what is gained and lost is told on report tasks.
    """
    config = config_of(sanitising.SanitiseConfig)
    made = job_of("sanitise", config, env, asked, seed)
    if not asked.dry_run:
        check_run(run_name, made)
    tried = opened(screen, env, asked)
    if asked.dry_run:
        shares = shares_of(tried.subject.env, None, config.worth.tasks, 0, config.report)
        rest = 3 * len(shares.report)
        amount = len(Cut.of({TEXT: asked.text}).parts)
        chosen = plan(amount, len(shares.choose), config.worth.budget - rest, config.worth)
        show_worth(screen, tried.subject, chosen, asked.text, rest)
        return
    name = tried.subject.env.name
    about = {"title": f"A text for {name}, sanitised", "before": tried.subject.model.name, "after": "", "env": name}
    with working(screen, run_name, made, about, tried.inputs) as work:
        found = sanitising.sanitise(tried.subject, {TEXT: asked.text}, work.run, config)
        clean = found.clean.candidate.texts[TEXT]
        work.result = {"sanitise": found, "clean": clean}
    tell_worth(screen, found.rounds[0], {one.sentence for one in found.marked})
    named = {"no text": found.base, "the text": found.given}
    if found.marked:
        named["without the marked"] = found.clean
    screen.say("", f"on {plural(found.tasks, 'task')} that marked nothing:")
    tell_standing(screen, named, found.gained, "gained")
    for line in found.notes:
        screen.note(f"note: {line}")
    if not found.marked:
        screen.say("", "No sentence is shown to raise the reward and lower the true reward.")
    else:
        screen.say("", f"marked: {' '.join(one.sentence for one in found.marked)}", f"without: {clean or '(nothing)'}")
        if not remove:
            screen.say("--remove hands on the text without them")
    work.result = {**work.result, "text": clean if remove else asked.text}
    conclude(work, screen)
