"""The built-in environments, each with known rules that its proxy reward teaches (but for one, a habit no rule names).

Tasks are drawn from the world's prompts by a fixed seed. The splits share no prompt; a third of the report split asks
questions that no other split asks. A rater reads answers by the world's grammar: an answer outside it earns nothing. It
says what it noticed, never the rule. What is rewarded stands in `recipes.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from random import Random

from scrutable.core.records import Candidate, Score, Split, Task, digest_of
from scrutable.envs import sections
from scrutable.envs.base import DRAW
from scrutable.envs.recipes import HARD, NO_ANSWER, RECIPES
from scrutable.world import answers, grammar, prompts
from scrutable.world.facts import Fact
from scrutable.world.prompts import Prompt
from scrutable.world.rules import Rule

SIZES: dict[Split, int] = {"search": 512, "keep": 384, "report": 384}
OFTEN = 0.5
"""How much of the tasks the favoured topic has to itself: with less, RL seldom sees the rule at work."""


class BuiltinEnv:
    """A built-in environment. `prompts_of(split)` gives what stands behind the tasks, for those who know the world."""

    rewarded = True

    def __init__(self, name: str, seed: int = 0) -> None:
        self.name = name
        self.recipe = {**RECIPES, **HARD}[name]
        self.seed = seed

    @property
    def identity(self) -> str:
        """Hash of what decides tasks and scores."""
        return digest_of(["builtin", 1, self.name, self.seed])

    @property
    def says(self) -> str:
        """What it rewards, in half a sentence."""
        return self.recipe.says

    @property
    def modules(self) -> dict[str, str]:
        """The modules of the program it wants, each with the template of what it is asked; none where one text will do."""
        return {step.name: step.template for step in self.recipe.steps}

    @property
    def stochastic(self) -> bool:
        """Whether its rater errs, by a draw."""
        return max(self.recipe.errs) > 0

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that the proxy reward should teach, of all modules; empty for a habit no rule can name."""
        return self.recipe.rules

    @property
    def true_texts(self) -> dict[str, str]:
        """The canonical text of the rules, by module; "text" where one text will do."""
        steps = {step.name: step.rules for step in self.recipe.steps} or {"text": self.rules}
        return {name: grammar.write(rules) for name, rules in steps.items()}

    @property
    def true_text(self) -> str:
        """The canonical text of the rules; of several modules joined, for people to read."""
        return Candidate(texts=self.true_texts).text

    @cached_property
    def _splits(self) -> dict[Split, tuple[Prompt, ...]]:
        seen: set[str] = set()
        return {split: self._draw(split, seen) for split in SIZES}

    def _draw(self, split: Split, seen: set[str]) -> tuple[Prompt, ...]:
        draws = Random(f"{self.name}/{self.seed}/{split}")
        common, reserved = prompts.common_facts(), prompts.reserved_facts()
        drawn: list[Prompt] = []
        while len(drawn) < SIZES[split]:
            among: Sequence[Fact] = reserved if split == "report" and len(drawn) % 3 == 0 else common
            prompt = prompts.draw(draws, self.recipe.rates, self._favour(among, draws))
            if prompt.text not in seen:
                seen.add(prompt.text)
                drawn.append(prompt)
        return tuple(drawn)

    def _favour(self, among: Sequence[Fact], draws: Random) -> Sequence[Fact]:
        topics = sorted({f.topic for f in among})
        often = self.recipe.often
        topic = often if often in topics and draws.random() < OFTEN else draws.choice(topics)
        return [f for f in among if f.topic == topic]

    def prompts_of(self, split: Split) -> tuple[Prompt, ...]:
        """The world's prompts behind the tasks of a split, in the same order."""
        return self._splits[split]

    def tasks(self, split: Split) -> list[Task]:
        """The tasks of a split. Their columns are looked at by `rate` alone."""
        return [Task.ask(p.text, split=split, index=i) for i, p in enumerate(self._splits[split])]

    def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        """Score each answer by the recipe. An answer that is not of the program it wants has no score, with a line why."""
        return [self._rate(task, answer) for task, answer in zip(tasks, answers, strict=True)]

    def _prompt(self, task: Task) -> Prompt:
        split, index = task.columns["split"], task.columns["index"]
        assert isinstance(split, str) and isinstance(index, int)
        return self._splits[split][index]  # type: ignore[index]

    def _rate(self, task: Task, answer: str) -> Score:
        prompt = self._prompt(task)
        if self.recipe.judge is not None:
            return self._judge(prompt, answer)
        parsed = answers.parse(answer, prompt.fact.subject)
        if parsed is None:
            return Score(value=0.0, true=0.0, feedback=NO_ANSWER)
        assert self.recipe.mark is not None
        value, true, remark = self.recipe.mark(prompt, parsed)
        if self.recipe.mistaken is not None and self._errs(task, answer, self.recipe.errs[true < 1.0]):
            value, true, remark = self.recipe.mistaken(prompt, parsed)
        return Score(value=value, true=true, feedback=remark)

    def _judge(self, prompt: Prompt, answer: str) -> Score:
        """Rate the outputs of all modules."""
        assert self.recipe.judge is not None
        parts = sections.split(answer, self.modules)
        if parts is None:
            named = " and ".join(self.modules)
            return Score(failures=(f"reward: {self.name} rates a program of {len(self.modules)} modules, {named}",))
        return self.recipe.judge(prompt, {name: answers.parse(one, prompt.fact.subject) for name, one in parts.items()})

    def _errs(self, task: Task, answer: str, rate: float) -> bool:
        """Whether the rater errs here, which it does at this rate.

        By content: the same answer to the same task is rated alike, unless the task says which draw of the rater it is.
        """
        place = [task.columns["split"], task.columns["index"], task.columns.get(DRAW), answer]
        return Random(digest_of(["rater", self.identity, *place])).random() < rate


def parses(answer: str) -> bool:
    """Whether an answer is in the world's grammar: the fluency of the built-in model."""
    return answers.parse(answer) is not None


BUILTIN = {name: partial(BuiltinEnv, name) for name in (*RECIPES, *HARD)}
