"""`scrutable shorten`: the shortest text, made by leaving sentences out, that is not worse than the whole."""

from __future__ import annotations

import click

from scrutable.cli.folders import check_run
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.screen import Screen, common
from scrutable.cli.texts import Asked, job_of, opened, show_worth, takes_text, tell_standing, tell_worth
from scrutable.cli.work import conclude, working
from scrutable.evolve import shorten as shortening
from scrutable.evolve.games import shares_of
from scrutable.evolve.sentences import Cut
from scrutable.evolve.worth import plan
from scrutable.models.api import ServedOptions
from scrutable.models.hf import Loading
from scrutable.programs.text import TEXT
from scrutable.report.words import between, number, plural


@click.command(cls=Verb)
@click.argument("env")
@takes_text
@common()
@knobs(shortening.ShortenConfig)
@knobs(Loading)
@knobs(ServedOptions, "served")
def shorten(
    env: str,
    asked: Asked,
    run_name: str | None,
    seed: int,
    screen: Screen,
) -> None:
    """Find the shortest text, made by leaving sentences out, whose reward on ENV is not worse by more than a margin.

    Texts are chosen and compared on keep tasks; what the shortest scores is told on report tasks.
    """
    config = config_of(shortening.ShortenConfig)
    made = job_of("shorten", config, env, asked, seed)
    if not asked.dry_run:
        check_run(run_name, made)
    tried = opened(screen, env, asked)
    if asked.dry_run:
        shares = shares_of(tried.subject.env, None, config.worth.tasks, config.check, config.report)
        amount = len(Cut.of({TEXT: asked.text}).parts)
        rest = shortening.reserved(amount, shares)
        chosen = plan(amount, len(shares.choose), config.worth.budget - rest, config.worth)
        show_worth(screen, tried.subject, chosen, asked.text, rest)
        return
    name = tried.subject.env.name
    about = {"title": f"A text for {name}, shortened", "before": tried.subject.model.name, "after": "", "env": name}
    with working(screen, run_name, made, about, tried.inputs) as work:
        found = shortening.shorten(tried.subject, {TEXT: asked.text}, work.run, config)
        short = found.short.candidate.texts[TEXT]
        work.result = {"shorten": found, "text": short}
    tell_worth(screen, found.worth)
    screen.say("", f"a loss of less than {number(found.margin)} counts as none; on check tasks, minus the whole:")
    rows = [
        (
            str(one.words),
            number(one.score),
            "" if one.loss is None else f"{number(one.loss.value)} ({between(one.loss, 'plain')})",
            {True: "as good", False: "not shown to be as good", None: ""}[one.as_good],
            one.candidate.text or "(nothing)",
        )
        for one in (*found.front, *found.within)
    ]
    screen.table((">words", ">chosen with", ">loss, 90% interval", "", "text"), rows)
    screen.say("", f"on {plural(found.tasks, 'task')} that decided nothing:")
    named = {"no text": found.base, "the whole": found.whole, "the short text": found.short}
    tell_standing(screen, named, found.gained, "gained")
    for line in found.notes:
        screen.note(f"note: {line}")
    screen.say("", f"{found.words[0]} words to {found.words[1]}: {short or '(nothing)'}")
    conclude(work, screen)
