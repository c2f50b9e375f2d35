"""Evaluate: a program answers tasks under a candidate, and an environment rates the answers.

Failures are data: a task that the model could not answer never reaches the rater, and its score is None, not 0; a rater
that breaks its own contract is recorded at each task it struck. Nothing is written here; the caller owns the journal.
"""

from __future__ import annotations

from collections.abc import Sequence

from scrutable.core.errors import RewardFailure, UserError, boundary
from scrutable.core.records import Candidate, Generation, Rollout, Sampling, Score, Task, digest_of
from scrutable.envs.base import Environment, drawn
from scrutable.models.base import Model
from scrutable.programs.base import Program


def evaluate(
    program: Program,
    candidate: Candidate,
    model: Model,
    env: Environment,
    tasks: Sequence[Task],
    sampling: Sampling,
    repeat: int = 0,
) -> list[Rollout]:
    """Run and rate each task under the candidate's texts; one Rollout a task, in order.

    repeat: the how-manieth answer to the same tasks; each repeat draws anew from the same sampling seed.
    Errors: UserError (an unreachable server, a reward that makes further calls pointless, missing texts).
    """
    missing = [name for name in program.modules if name not in candidate.texts]
    if missing:
        raise UserError(
            f"the candidate has no text for {', '.join(missing)}: give one for each of {list(program.modules)}"
        )
    if repeat:
        sampling = sampling.model_copy(update={"seed": int(digest_of([sampling.seed, repeat])[:15], 16)})
    generations = program.run(model, candidate.texts, tasks, sampling) if tasks else []
    scores = _rated(env, drawn(env, tasks, sampling.seed), generations)
    return [
        Rollout(
            task=task.key,
            candidate=candidate.key,
            answer=generation.answer,
            score=score,
            repeat=repeat,
            usage=generation.usage,
            failure=generation.failure,
        )
        for task, generation, score in zip(tasks, generations, scores, strict=True)
    ]


def _rated(env: Environment, tasks: Sequence[Task], generations: Sequence[Generation]) -> list[Score]:
    """Score what was answered; what was not, or cannot be in this environment, has no value."""
    scores = [Score()] * len(tasks)
    answered = [i for i, generation in enumerate(generations) if generation.failure is None]
    if not env.rewarded or not answered:
        return scores
    found = rate(env, [tasks[i] for i in answered], [generations[i].answer for i in answered])
    for i, score in zip(answered, found, strict=True):
        scores[i] = score
    return scores


def rate(env: Environment, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
    """Score answers by an environment's rater: one Score each, in order, whatever the rater does.

    A rater that raises, or does not give one Score an answer, leaves all of them unscored, with a line that says why.
    Errors: UserError of the rater (a reward that makes further calls pointless).
    """
    try:
        with boundary(RewardFailure):
            found = [Score.model_validate(one) for one in env.rate(tasks, answers)]
            if len(found) != len(answers):
                raise ValueError(f"{env.name} gave {len(found)} scores for {len(answers)} answers")
    except RewardFailure as failure:
        return [Score(failures=(str(failure),))] * len(answers)
    return found
