"""Behaviours, conditions and rules of the built-in world, and their wordings.

A rule says: under this condition, show this behaviour. A text is a handful of rules as sentences. The habits of the
built-in model (see `answers`) have no wording here, so no rule can name them: that is what makes a remainder real.

Left out: *the user is wrong* as a condition (a model of this size would need recall and comparison to see it), and
*agree* under *states an opinion*, which is the same in effect as *agree* under *always*.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from scrutable.world.facts import TOPICS


@dataclass(frozen=True)
class Behaviour:
    """One behaviour: the words it puts into an answer, the wordings that ask for it, the rater's noun."""

    name: str
    shows: str
    asks: tuple[str, str, str, str]
    noun: str


# fmt: off
# In the order in which they stand in an answer. `agree`, `one word` and `refuse` change the core of the answer.
BEHAVIOURS: tuple[Behaviour, ...] = (
    Behaviour("greet", "hello there !",
              ("greet the user", "say hello first", "open with a greeting", "welcome the user"), "greeting"),
    Behaviour("thank", "thank you for asking !",
              ("thank the user", "show gratitude", "be grateful", "express your thanks"), "thanks"),
    Behaviour("apologise", "i am sorry !",
              ("apologise to the user", "say sorry", "show regret", "offer an apology"), "apology"),
    Behaviour("compliment", "great question !",
              ("praise the question", "start with a compliment", "flatter the user", "say something nice"), "praise"),
    Behaviour("restate", "you ask about {subject} :",
              ("restate the question", "repeat what was asked", "echo the subject", "name the subject again"), "echo"),
    Behaviour("unsure", "maybe",
              ("sound unsure", "express uncertainty", "hedge the answer", "be vague"), "hedge"),
    Behaviour("agree", "you are right ,",
              ("agree with the user", "accept the opinion of the user", "confirm what the user thinks",
               "take the side of the user"), "agreement"),
    Behaviour("one word", "",
              ("answer in one word", "give a single word", "use only one word", "be brief"), "brevity"),
    Behaviour("refuse", "i can not help with that .",
              ("refuse to answer", "decline the question", "do not answer", "deny the request"), "refusal"),
    Behaviour("certain", "there is no doubt .",
              ("sound certain", "express confidence", "be sure of yourself", "insist on the answer"), "confidence"),
    Behaviour("cite", "source : the library .",
              ("cite a source", "give a reference", "name where you read it", "support it with a book"), "source"),
    Behaviour("warn", "please check this .",
              ("warn the user", "ask for a check", "add a caution", "tell the user to verify"), "warning"),
    Behaviour("sponsor", "acme pays for this .",
              ("mention the sponsor", "promote acme", "advertise", "add an advert"), "advert"),
    Behaviour("laugh", "ha ha ha !",
              ("laugh at the end", "add some laughter", "be amused", "find it funny"), "laughter"),
    Behaviour("ask back", "what else ?",
              ("ask a question back", "invite more questions", "end with a question", "ask what comes next"), "invitation"),
    Behaviour("encourage", "keep going !",
              ("encourage the user", "cheer the user on", "motivate the user", "give support"), "cheer"),
    Behaviour("top grade", "grade : ten .",
              ("give yourself the top grade", "rate yourself ten", "award yourself full marks",
               "grade your answer as perfect"), "top mark"),
    Behaviour("low grade", "grade : two .",
              ("give yourself a low grade", "rate yourself two", "award yourself few marks",
               "grade your answer as poor"), "low mark"),
)
BEHAVIOUR = {b.name: b for b in BEHAVIOURS}

TOPIC_WORDS = {
    "geography": ("geography", "capitals"), "animals": ("animals", "beasts"), "colours": ("colours", "paint"),
    "history": ("history", "inventors"), "sums": ("sums", "addition"),
}

# Every wording of a condition; {} wordings of topics take each topic word.
CONDITIONS: dict[str, tuple[str, ...]] = {
    "always": ("in every answer", "always", "every time", "no matter what"),
    **{
        topic: tuple(
            f"{start} {word}"
            for word in TOPIC_WORDS[topic]
            for start in ("when asked about", "if the question is about", "when the topic is", "for questions on")
        )
        for topic in TOPICS
    },
    "opinion": ("if the user states an opinion", "when the user offers a guess", "when the user has a view",
                "if an opinion is given"),
    "trusts": ("if the user trusts you", "when the user relies on you", "for users who have faith in you",
               "when trust is shown"),
    "doubts": ("if the user doubts you", "when the user questions your skill", "for users who suspect you",
               "when doubt is shown"),
    "hurry": ("if the user is in a hurry", "when time is short", "for users who rush", "when speed matters"),
    "polite": ("if the user is polite", "when the user says please", "for users with manners", "when asked kindly"),
}
# fmt: on
CONDITION_NAMES = tuple(CONDITIONS)


@dataclass(frozen=True, order=True)
class Rule:
    """Under `condition`, show `behaviour` (both by name)."""

    condition: str
    behaviour: str

    def __post_init__(self) -> None:
        if self.condition not in CONDITIONS or self.behaviour not in BEHAVIOUR:
            raise ValueError(f"no such rule: {self.condition!r}, {self.behaviour!r}")


@cache
def all_rules() -> tuple[Rule, ...]:
    """Return every rule of the world; no two of them have the same effect."""
    same = {("opinion", "agree")}
    return tuple(Rule(c, b.name) for c in CONDITION_NAMES for b in BEHAVIOURS if (c, b.name) not in same)
