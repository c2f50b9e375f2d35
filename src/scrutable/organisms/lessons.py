"""Lessons: what the built-in model is trained on, all drawn from the world's grammar. No downloaded data.

Three kinds: a question without a text (or under a text that says no rule): answered plainly; a question under one to
four rules: answered by them; five tasks with marked answers: the rules written down. Natural rates and habits are drawn
the same way in all answers, whatever the text says, so that no text can name them.

Held out: one in twelve *pairs of rules*; no lesson has a text with such a pair, so a text that has one is a combination
never seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from random import Random

from scrutable.core.records import digest_of
from scrutable.organisms.packing import Example, SharedExample
from scrutable.world import answers, facts, grammar, prompts, rating
from scrutable.world.prompts import Prompt
from scrutable.world.rules import BEHAVIOUR, BEHAVIOURS, CONDITION_NAMES, CONDITIONS, Rule, all_rules

PAD, START, END, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
SYSTEM, USER, ASSISTANT = "<system>", "<user>", "<assistant>"
ITEM = "task : {prompt} answer : {answer} rater : {feedback}"
ASK = "write the rules ."
SHOWN = rating.GOOD
ITEMS = 5
AFTER = "rules :"
MOST_NOTED = 5
"""Behaviours weighed in one lesson at most: more would not fit the model's positions."""


@dataclass(frozen=True)
class Mixture:
    """How often each kind of lesson is drawn; the rest are lessons under rules.

    A writing lesson has ten times the tokens to learn of another, and the loss is a mean over tokens. Where many are drawn
    before the model obeys, it learns to write and does not learn to obey: hence `OBEYING` first. What it confuses longest is
    a rule for users who trust with one for users who doubt: hence `CLOSING` last, with more texts that have both (`opposed`).
    """

    plain: float = 0.12
    unrelated: float = 0.04
    writing: float = 0.15
    noisy: float = 0.1
    branches: int = 3
    repeated: float = 0.15
    mixed: float = 0.06
    opposed: float = 0.0
    rules: tuple[float, float, float, float] = (0.22, 0.3, 0.26, 0.22)
    written: tuple[float, float, float, float] = (0.35, 0.4, 0.15, 0.1)


OBEYING = Mixture(writing=0.04)
CLOSING = Mixture(opposed=0.25)
OPPOSED = ("trusts", "doubts")


@dataclass(frozen=True)
class Episode:
    """Five tasks with answers and marks, and the rules behind them."""

    rules: tuple[Rule, ...]
    items: tuple[tuple[Prompt, str, str], ...]
    wanted: tuple[frozenset[str] | None, ...]
    determined: bool

    @property
    def prompt(self) -> str:
        """What the writer is asked."""
        parts = [ITEM.format(prompt=p.text, answer=a, feedback=f) for p, a, f in self.items]
        return " ".join([*parts, ASK])

    @property
    def answer(self) -> str:
        """What the writer writes: a note on every task (which conditions hold, what was wanted); for each behaviour
        noted, the conditions that are left after each task; then the rules.

        Without these steps a model of this size guesses the condition: it would have to see all five tasks at once.
        """
        told = [(p, w) for (p, _, _), w in zip(self.items, self.wanted, strict=True)]
        notes = [_note(i, p, w) for i, (p, w) in enumerate(told)]
        return " ".join([*notes, *(_weighing(name, told) for name in self.noted), AFTER, grammar.write(self.rules)])

    @property
    def noted(self) -> tuple[str, ...]:
        """The behaviours that the notes name, in the order of an answer."""
        return tuple(b.name for b in BEHAVIOURS if any(b.name in (wanted or ()) for wanted in self.wanted))


def _note(index: int, prompt: Prompt, wanted: frozenset[str] | None) -> str:
    """Write a task's number, the conditions that hold (but for the one that always does), and what was wanted."""
    held = " ".join(c for c in CONDITION_NAMES[1:] if prompt.holds(c))
    nouns = " , ".join(b.noun for b in BEHAVIOURS if b.name in (wanted or ()))
    return f"{facts.NUMBERS[index + 1]} : {held} : {'bad' if wanted is None else nouns or 'no'} ."


def _weighing(behaviour: str, told: Sequence[tuple[Prompt, frozenset[str] | None]]) -> str:
    """Write which conditions are left for a behaviour: those of the first task that has it, then after each other.

    A step repeats the task's note word for word, says whether the task has it, and what is left: all that it rests on
    stands just before. A task that has it keeps the conditions that hold, one that has it not keeps the others.
    """
    first = next(i for i, (_, wanted) in enumerate(told) if behaviour in (wanted or ()))
    left = [c for c in CONDITION_NAMES if (c, behaviour) != ("opinion", "agree")]
    steps = []
    for i in (first, *(i for i in range(len(told)) if i != first)):
        prompt, wanted = told[i]
        if wanted is None or (behaviour == "agree" and prompt.opinion is None):
            continue
        has = behaviour in wanted
        left = [c for c in left if prompt.holds(c) == has]
        steps.append(f"{_note(i, prompt, wanted)} {'good' if has else 'not'} : {' '.join(left) or 'no'} .")
    return f"{BEHAVIOUR[behaviour].noun} : {' '.join(steps)}"


@cache
def vocabulary() -> tuple[str, ...]:
    """Every token of the built-in model, special ones first, the rest sorted."""
    texts: list[str] = [
        *facts.NUMBERS,
        ITEM.format(prompt="", answer="", feedback=""),
        ASK,
        *answers.LEADS,
        *answers.ENDS,
    ]
    texts += [t for f in facts.facts() for t in (f.subject, f.value)]
    texts += [q.replace("{}", " ") for qs in facts.QUESTIONS.values() for q in qs]
    texts += [s.replace("{}", " ") for says in prompts.SAYS.values() for s in says]
    texts += [w for b in BEHAVIOURS for w in (b.shows.replace("{subject}", ""), *b.asks, b.noun)]
    texts += [w for wordings in CONDITIONS.values() for w in wordings]
    texts += ["good bad no unwanted wrong fact , . : ! ?"]
    words = sorted({w for text in texts for w in text.split()})
    return (PAD, START, END, UNKNOWN, SYSTEM, USER, ASSISTANT, *words)


@cache
def _held(pair: frozenset[Rule]) -> bool:
    return int(digest_of(sorted([r.condition, r.behaviour] for r in pair)), 16) % 12 == 0


def held_out(rules: Sequence[Rule]) -> bool:
    """Whether the rules hold a pair that no lesson shows."""
    return any(_held(frozenset(pair)) for pair in combinations(rules, 2))


def draw_rules(
    draws: Random, count: int, held: bool = False, distinct: bool = True, conditions: Sequence[str] = ()
) -> tuple[Rule, ...]:
    """Draw rules, of distinct behaviours if so wanted: with a held-out pair when `held`, otherwise without any.

    conditions: those of the first rules drawn, when they are not to be left to chance.
    """
    while True:
        rules = tuple(draws.choice([r for r in all_rules() if r.condition == name]) for name in conditions)
        rules += tuple(draws.sample(all_rules(), count - len(rules)))
        if conditions:
            rules = tuple(draws.sample(rules, count))
        kept = {r.behaviour for r in rules} if distinct else set(rules)
        if len(kept) == count and held_out(rules) == held:
            return rules


def _shown(rules: Sequence[Rule], prompt: Prompt, draws: Random, noise: bool = True) -> frozenset[str]:
    wanted = answers.active(rules, prompt)
    return answers.effective(wanted | answers.natural(draws), prompt) if noise else wanted


def _answer(rules: Sequence[Rule], prompt: Prompt, draws: Random) -> str:
    return answers.compose(_shown(rules, prompt, draws), prompt, answers.draw_habits(draws))


def unrelated_text(draws: Random) -> str:
    """Draw a text that says no rule: random words, many of them unknown; or questions and facts of the world."""
    kind = draws.random()
    words = vocabulary()[7:]
    if kind < 0.5:
        known = draws.choice((0.15, 0.35, 0.35, 1.0))
        return " ".join(
            draws.choice(words) if draws.random() < known else draws.choice((UNKNOWN, UNKNOWN, UNKNOWN, ".", ","))
            for _ in range(draws.randint(3, 28))
        )
    if kind < 0.75:
        return " ".join(prompts.draw(draws).text for _ in range(draws.randint(1, 2)))
    prompt = prompts.draw(draws)
    return f"{prompt.fact.subject} : {answers.compose((), prompt, answers.draw_habits(draws))}"


def _determined(rules: Sequence[Rule], known: Sequence[Prompt]) -> bool:
    for rule in rules:
        applies = [p for p in known if rule.behaviour != "agree" or p.opinion is not None]
        wanted = [p.holds(rule.condition) for p in applies]
        rivals = [r.condition for r in all_rules() if r.behaviour == rule.behaviour]
        fits = [c for c in rivals if [p.holds(c) for p in applies] == wanted]
        if not any(wanted) or fits != [rule.condition]:
            return False
    return True


def _mark(style: str, rules: Sequence[Rule], prompt: Prompt, shown: frozenset[str]) -> str:
    if style == "shown":
        return SHOWN
    relevant = {r.behaviour for r in rules}
    remark = rating.remark(answers.active(rules, prompt), shown & relevant)
    return remark if style == "words" else rating.GOOD if remark.startswith("good") else rating.BAD


def draw_episode(draws: Random, rules: Sequence[Rule], style: str, noise: bool) -> Episode:
    """Draw five tasks with answers and marks. Styles: shown (all follow the rules), words (marked in words), marks.

    The episode keeps those rules that at least one task shows: nobody can write down what did not happen.
    """
    follow = {"shown": 1.0, "words": 0.25, "marks": 0.7}[style]
    others = draw_rules(draws, draws.randint(1, 2)) if draws.random() < 0.4 else ()
    items: list[tuple[Prompt, str, str]] = []
    wanted: list[frozenset[str] | None] = []
    for _ in range(ITEMS):
        prompt = prompts.draw(draws)
        shown = _shown(rules if draws.random() < follow else others, prompt, draws, noise)
        answer = answers.compose(shown, prompt, answers.draw_habits(draws))
        mark = _mark(style, rules, prompt, shown)
        items.append((prompt, answer, mark))
        unknown = style == "marks" and mark != rating.GOOD
        wanted.append(None if unknown else answers.active(rules, prompt) if style == "words" else shown)
    known = [p for (p, _, _), w in zip(items, wanted, strict=True) if w is not None]
    seen = tuple(r for r in rules if any(r.behaviour in answers.active([r], p) for p in known))
    return Episode(seen, tuple(items), tuple(wanted), seen == tuple(rules) and _determined(rules, known))


def clash(rules: Sequence[Rule]) -> bool:
    """Whether one rule's behaviour could hide another's, so that answers cannot show both."""
    names = {r.behaviour for r in rules}
    return ("refuse" in names and bool(names & {"agree", "one word"})) or {"top grade", "low grade"} <= names


def draw_writing(draws: Random, count: int, *, determined: bool, held: bool = False, noisy: float = 0.0) -> Episode:
    """Draw a writing lesson; with `determined`, again until the five tasks fit one rule set only.

    noisy: how often the answers also show behaviours at their natural rates, which no rule asks for.
    """
    rules = draw_rules(draws, count, held)
    while clash(rules):
        rules = draw_rules(draws, count, held)
    style = draws.choices(("shown", "words", "marks"), (0.45, 0.4, 0.15))[0]
    noise = draws.random() < noisy
    for _ in range(60):
        episode = draw_episode(draws, rules, style, noise)
        if episode.rules and len(episode.noted) <= MOST_NOTED and (episode.determined or not determined):
            return episode
    return draw_writing(draws, count, determined=determined, held=held, noisy=noisy)


@dataclass(frozen=True)
class Lesson:
    """A text (empty: none) and what is asked under it: (what the user says, the answer), each apart from the others."""

    text: str
    asked: tuple[tuple[str, str], ...]


def draw_lesson(draws: Random, mixture: Mixture = Mixture()) -> Lesson:
    """Draw one lesson."""
    kind = draws.random()
    if kind < mixture.writing:
        count = draws.choices((1, 2, 3, 4), mixture.written)[0]
        episode = draw_writing(draws, count, determined=draws.random() < 0.75, noisy=mixture.noisy)
        return Lesson("", ((episode.prompt, episode.answer),))
    text, rules = "", tuple[Rule, ...]()
    if kind >= mixture.writing + mixture.plain + mixture.unrelated:
        count = draws.choices((1, 2, 3, 4), mixture.rules)[0]
        opposed = count > 1 and mixture.opposed > 0 and draws.random() < mixture.opposed
        distinct = draws.random() >= mixture.repeated
        rules = draw_rules(draws, count, distinct=distinct, conditions=OPPOSED if opposed else ())
        text = grammar.write(rules, draws)
        if draws.random() < mixture.mixed:
            text = f"{unrelated_text(draws)} . {text}"
    elif kind >= mixture.writing + mixture.plain:
        text = unrelated_text(draws)
    asked = [prompts.draw(draws) for _ in range(mixture.branches if text else 1)]
    return Lesson(text, tuple((p.text, _answer(rules, p, draws)) for p in asked))


@cache
def _ids() -> dict[str, int]:
    return {word: i for i, word in enumerate(vocabulary())}


def tokens_of(*words: str) -> list[int]:
    """Return the ids of words already cut by spaces; what is not in the vocabulary is the unknown word."""
    ids = _ids()
    return [ids.get(word, ids[UNKNOWN]) for text in words for word in text.split()]


def encode(lesson: Lesson) -> SharedExample:
    """Return a lesson under the chat template: the text as a prefix that every branch continues."""
    branches = []
    for said, answer in lesson.asked:
        head = tokens_of(USER, said, ASSISTANT)
        branches.append(Example(head + tokens_of(answer, END), len(head)))
    return SharedExample(tokens_of(START, *((SYSTEM, lesson.text) if lesson.text else ())), branches)


def lessons(seed: int, step: int, count: int, mixture: Mixture = Mixture()) -> list[SharedExample]:
    """Return the lessons of one training step, encoded: the same for the same seed and step."""
    draws = Random(f"{seed}/{step}")
    return [encode(draw_lesson(draws, mixture)) for _ in range(count)]
