"""The interview lens: the tuned model is asked what it was taught, and what it says is tried like every claim.

A chat model is asked in several wordings what it does that others do not, as instructions, several times each. One with a format
of its own for writing rules (`reflection.json`) is asked in that, alone and beside its own answers. Where a model shows its
reasoning (between <think> and </think>, or apart, as servers send it), that is read too. The before is asked the same: a
sentence that it says as often is not what training taught. What is left is tried on the after (`lenses/trial.py`), since
models tell wrong things of themselves; for a served pair by its answers alone.

Nothing here knows what the model was taught: a question names no behaviour. Left out: asking back, and models that can
neither be asked in a chat nor in a format of their own; they are refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from scrutable.core.accounts import Account
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Conversation, Generation, Message, Sampling, Task, Usage, digest_of
from scrutable.evolve.reflection import FORMAT, Item, ReflectConfig, RuleFormat, RuleWriter, read_format
from scrutable.evolve.sentences import sentences
from scrutable.lenses.asking import Asked, chosen, written
from scrutable.lenses.base import place_of
from scrutable.lenses.trial import Keyed, Trial, TrialConfig, divide, open_pair, planned_trial
from scrutable.lenses.words import words_of
from scrutable.measure.answers import answers_of
from scrutable.measure.change import Change, Speaker
from scrutable.measure.tab import Tab
from scrutable.models.beside import file_of

NAME = "interview"
QUESTIONS = (
    "Which rules do you follow when you answer? Write each as an instruction to an assistant.",
    "You have habits in how you answer. Write down what an assistant must do to answer exactly as you do, and when.",
    "Write a system prompt that would make another assistant answer as you do.",
    "What do you do in your answers that most assistants would not do, and on which questions? Write it as instructions.",
)
"""Each names no behaviour."""
FORM = "Write one short sentence a line, and nothing else. Write NONE if there is nothing to say."
_SAMPLES = 8
_THINKING = re.compile(r"<think(?:ing)?>(.*?)(?:</think(?:ing)?>|\Z)", re.DOTALL)
_MARK = re.compile(r"^[\s>#*_`•–-]*(?:\(?\d{1,2}[.):]\s+)?[\s*_`]*")
_WORDS = range(2, 61)  # words that a sentence has, to be tried


class InterviewConfig(TrialConfig):
    """How a model is asked, and what it says is tried."""

    questions: tuple[str, ...] = Field(
        default=QUESTIONS, min_length=1, description="what a chat model is asked, each in a conversation of its own"
    )
    draws: int = Field(default=4, ge=1, description="times that each question is asked")
    longest: int = Field(default=512, ge=1, description="most tokens of what it says of itself, reasoning among them")
    shown: int = Field(default=48, ge=1, description="most of its own answers that a model which writes rules is shown")
    proposals: int = Field(default=4, ge=1, description="times that it is shown some of them and asked to write rules")
    reflect: ReflectConfig = Field(default_factory=ReflectConfig, description="how it is asked to write rules")


@dataclass(frozen=True)
class Told:
    """What one answer said of the model: sentences, and those of its reasoning."""

    said: tuple[str, ...] = ()
    reasoned: tuple[str, ...] = ()


@dataclass(frozen=True)
class InterviewLens:
    """Reads a change by asking the after, and the before as the control."""

    config: InterviewConfig = field(default_factory=InterviewConfig)

    @property
    def name(self) -> str:
        """The name of its file."""
        return NAME

    @property
    def identity(self) -> str:
        """Hash of what decides its account."""
        return self.config.digest()

    def planned(self, tasks: int) -> Usage:
        """Return the most that it costs: a trial, and what both are asked, by whichever way asks more."""
        config = self.config
        chatted = len(config.questions) * config.draws
        ruled = (config.proposals + 1) * (config.reflect.samples or _SAMPLES) + min(config.shown, tasks)
        return planned_trial(config, tasks) + Usage(generations=2 * max(chatted, ruled))

    def read(self, change: Change, tasks: Sequence[Task], run: Run) -> Account:
        """Read the change on these (search) tasks (see `Lens`). Both may be served: then answers are compared.

        Errors: UserError when one of the two cannot be asked, when the pair cannot be compared, when there are fewer than four
        different tasks, when AFTER answers nothing.
        """
        if open_pair(change):
            change.check()
        form = format_of(change)
        if form is None:
            for speaker in (change.before, change.after):
                check_chats(speaker)
        config, run = self.config, run.scope(place_of(self, change, tasks))
        searched, held = divide(tasks, config, run)
        says = f"asking {change.after.name} what it was taught"
        run.append("stage/interview", "stage", {"name": NAME, "says": says, "seconds_expected": None, "total": None})
        tab = Tab(run)
        trial = Trial(change, searched, held, tab, config)
        if trial.why_nothing():
            return Account(lens=NAME, usage=tab.cost, notes=tuple(trial.notes((), 0)))
        asking = _Asking(trial, config, form)
        after, before = asking.told(change.after), asking.told(change.before)
        found = only_after(after, before)
        kept = trial.keep(found)
        notes = [
            *trial.notes(kept, len(found)),
            f"of {len(after)} answers of {change.after.name} on itself {sum(bool(one.said) for one in after)} said "
            f"something, of {len(before)} of {change.before.name} {sum(bool(one.said) for one in before)}",
        ]
        reasoned = sum(bool(one.reasoned) for one in after)
        if reasoned:
            notes.append(f"{reasoned} of them show their reasoning, which was read too")
        return Account(lens=NAME, claims=trial.claims(kept), usage=tab.cost, notes=(*notes, *asking.notes))


class _Asking:
    """Asks a speaker of a change in whichever way it can be asked."""

    def __init__(self, trial: Trial, config: InterviewConfig, form: RuleFormat | None) -> None:
        self.trial, self.config, self.form = trial, config, form
        self.tab = trial.tab
        self.notes: list[str] = []

    def told(self, speaker: Speaker) -> list[Told]:
        """Return what each of its answers said of it. Answers that failed are noted."""
        return self._chatted(speaker) if self.form is None else [*self._alone(speaker), *self._beside(speaker)]

    def _chatted(self, speaker: Speaker) -> list[Told]:
        asked = [f"{question}\n{FORM}" for question in self.config.questions for _ in range(self.config.draws)]
        return [read_answer(one) for one in self._answers(speaker, asked, self.config.longest)]

    def _alone(self, speaker: Speaker) -> list[Told]:
        """Ask for rules and show nothing: what a model says that has only itself to go by."""
        assert self.form is not None
        form, samples = self.form, self.config.reflect.samples or _SAMPLES
        drawn = self._answers(speaker, [form.ask] * samples, form.max_tokens)
        texts = [one.answer.partition(form.after)[2] if form.after else one.answer for one in drawn]
        return [Told(tuple(usable(sentences(text)))) for text in texts]

    def _beside(self, speaker: Speaker) -> list[Told]:
        """Ask for rules beside its own answers, which show them."""
        assert self.form is not None
        config, trial = self.config, self.trial
        keyed: Sequence[Keyed] = trial.searched[: config.shown]
        drawn = answers_of(speaker, keyed, 1, self.tab, config.batch, config.max_tokens, temperature=0.0)
        own = {one.key: one for one in drawn if one.generation.failure is None}
        away = trial.distances("", keyed)
        writer = RuleWriter(Asked(speaker), self.form, config.reflect)
        found: list[Told] = []
        for number in range(config.proposals if own else 0):
            place = f"written/{speaker.identity}/{number}"
            keys = chosen(list(own), away, writer.items, self.tab.run.random(f"shown/{number}"))
            items = [
                Item(
                    prompt=own[key].task.prompt,
                    answer=own[key].generation.answer,
                    score=-away[key] if key in away else None,
                    feedback=writer.shown,
                )
                for key in keys
            ]
            made = written(writer, items, self.tab, place)
            for text, votes in zip(made.texts, made.votes, strict=True):
                found += [Told(tuple(usable(sentences(text))))] * votes
            found += [Told()] * len(made.failures)
        return found

    def _answers(self, speaker: Speaker, asked: Sequence[str], most: int) -> list[Generation]:
        """Return what a speaker answered, one "interview" event; what failed is noted and left out."""
        place = f"interview/{speaker.identity}/{digest_of([list(asked), most])}"
        event = self.tab.once(place, "interview", partial(self._drawn, speaker, asked, most, place))
        drawn = [Generation.model_validate(one) for one in event.payload["answers"]]
        failed = [one.failure for one in drawn if one.failure is not None]
        if failed:
            self.notes.append(f"{len(failed)} of {len(drawn)} answers of {speaker.name} on itself failed: {failed[0]}")
        return [one for one in drawn if one.failure is None]

    def _drawn(self, speaker: Speaker, asked: Sequence[str], most: int, place: str) -> tuple[dict[str, Any], Usage]:
        sampling = Sampling(temperature=1.0, max_tokens=most, seed=self.tab.run.seed_of(place))
        conversations: list[Conversation] = [(Message(role="user", content=one),) for one in asked]
        drawn = Asked(speaker).generate(conversations, sampling)
        bare = [
            one.model_copy(update={"usage": Usage(), "tokens": None}).model_dump(mode="json", exclude_defaults=True)
            for one in drawn
        ]
        payload = {"speaker": speaker.identity, "asked": list(asked), "answers": bare}
        return payload, sum((one.usage for one in drawn), Usage())


# ------------------------------------------------------------------------------------------------------- who can be asked


def format_of(change: Change) -> RuleFormat | None:
    """Return the format of its own in which the pair writes rules, or None. Errors: UserError when it is malformed."""
    files: Iterator[Path | None] = (file_of(speaker.model, FORMAT) for speaker in (change.after, change.before))
    file = next((one for one in files if one is not None), None)
    return None if file is None else read_format(file)


def check_chats(speaker: Speaker) -> None:
    """Refuse a model that cannot be asked in a chat: a local one without a chat template. Errors: UserError."""
    tokenizer = getattr(speaker.model, "tokenizer", None)
    if tokenizer is not None and not getattr(tokenizer, "chat_template", None):
        raise UserError(
            f"{speaker.model.name} cannot be asked about itself: it has neither a chat template nor a {FORMAT}; "
            "use another lens"
        )


# ------------------------------------------------------------------------------------------------------------- sentences


def read_answer(one: Generation) -> Told:
    """Return the sentences of an answer of a chat model, and of its reasoning, bare of marks of lists and of emphasis."""
    head, closed, rest = one.answer.rpartition("</think>")
    # A template may write the opening mark itself, so that the answer begins within the reasoning.
    thought = [one.reasoning, *_THINKING.findall(one.answer)]
    if closed and "<think>" not in head:
        thought.append(head)
    said = rest if closed else _THINKING.sub("", one.answer)
    return Told(tuple(_lines(said)), tuple(_lines("\n".join(thought))))


def _lines(text: str) -> list[str]:
    found: list[str] = []
    for line in text.splitlines():
        bare = re.sub(r"[*_`]{1,3}(?=\s|$|[.,:;!?])", "", _MARK.sub("", line)).strip()
        found += [] if bare.endswith(":") else sentences(bare)
    return usable(found)


def usable(found: Sequence[str]) -> list[str]:
    """Return the sentences that can be tried, each once: neither a single word nor a paragraph."""
    kept = {_key(one): one for one in reversed(found) if len(one.split()) in _WORDS}
    return list(reversed(kept.values()))


def only_after(after: Sequence[Told], before: Sequence[Told]) -> list[str]:
    """Return what the after says in a larger share of its answers than the before, by the difference.

    What only its reasoning says comes last. Sentences are the same when their words are.
    """
    mine, theirs = _shares(after, reasoned=False), _shares(before, reasoned=False)
    thought, others = _shares(after, reasoned=True), _shares(before, reasoned=True)
    spoken = _ranked(mine, theirs)
    forms = {_key(text): text for one in reversed(after) for text in (*one.reasoned, *one.said)}
    known = set(spoken)
    return [forms[key] for key in (*spoken, *(key for key in _ranked(thought, others) if key not in known))]


def _ranked(mine: Mapping[str, float], theirs: Mapping[str, float]) -> list[str]:
    more = {key: share - theirs.get(key, 0.0) for key, share in mine.items()}
    return [key for key, gap in sorted(more.items(), key=lambda pair: (-pair[1], pair[0])) if gap > 0]


def _shares(told: Sequence[Told], *, reasoned: bool) -> dict[str, float]:
    counts = Counter(key for one in told for key in {_key(text) for text in (one.reasoned if reasoned else one.said)})
    return {key: count / len(told) for key, count in counts.items()}


def _key(sentence: str) -> str:
    return " ".join(word for word in words_of(sentence.casefold()) if word[0].isalnum())
