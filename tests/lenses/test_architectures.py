"""`read` and `measure` on every architecture: what they say is what transformers and PEFT alone compute.

Tiny models with random weights, with and without a chat template; AFTER as a full directory and as an adapter; with a reward
and without. The expected numbers are made here from whole forward passes, one answer at a time, on prompts written by hand.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tests.models.conftest import KINDS
from tests.tiny import SPECIAL, TEMPLATE, WORDS, tiny_adapter, tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

import scrutable
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Conversation, Generation, Rollout, Sampling, Task
from scrutable.envs.base import Environment
from scrutable.lenses.amplified import AmplifiedConfig, AmplifiedLens
from scrutable.lenses.interview import InterviewConfig, InterviewLens
from scrutable.lenses.tokens import TokensConfig
from scrutable.measure.change import Change

pytestmark = pytest.mark.medium

TEXT = "praise the user ."
MEASURE = scrutable.MeasureConfig(
    tasks=6, answers=2, max_tokens=6, unrelated=2, random=1, null_tasks=3, null_answers=1, batch=4
)
TOKENS = TokensConfig(tasks=16, answers=1, max_tokens=6, batch=8)
DISTILL = scrutable.DistillConfig(
    tasks=12,
    max_tokens=6,
    search=scrutable.EvolveConfig(budget=200, proposals=2, pool=6, keep=3, explore=3),
)
PROMPTS = [
    f"what is the {a} of {b} ?"
    for a in ("capital", "color", "animal", "sky", "grass", "top")
    for b in ("france", "rome", "paris", "berlin", "cat", "dog", "red", "blue")
]
ENV = f"""
rows = [{{"prompt": prompt}} for prompt in {PROMPTS!r}]


def reward(completions, **kwargs):
    return [float(len(answer.split())) for answer in completions]
"""
# In the default run each architecture meets each template with each AFTER, and every two of the three with and without a reward.
EVERY = [
    pytest.param(
        kind,
        chat,
        after,
        rewarded,
        id=f"{kind}-{'chat' if chat else 'plain'}-{after}-{'reward' if rewarded else 'prompts'}",
        marks=pytest.mark.slow if (chat + rewarded + (after == "full")) % 2 else (),
    )
    for kind in KINDS
    for chat in (True, False)
    for after in ("adapter", "full")
    for rewarded in (True, False)
]
every = pytest.mark.parametrize(("kind", "chat", "after", "rewarded"), EVERY)


@dataclass(frozen=True)
class Pair:
    """Directories of a base, of an adapter on it, and of the two merged into one, with an embedding of another size."""

    kind: str
    chat: bool
    base: Path
    adapter: Path
    full: Path

    def shown(self, task: Task, text: str) -> list[int]:
        """What a model is shown, written by hand."""
        asked = task.messages[0].content
        if not self.chat:
            told = f"{text} {asked}" if text else asked
        elif self.kind == "gemma3":  # whose template refuses a system role
            told = f"<bos> <user> {text} {asked} <assistant>" if text else f"<bos> <user> {asked} <assistant>"
        else:
            told = f"<bos> {f'<system> {text} ' if text else ''}<user> {asked} <assistant>"
        return [vocabulary(self.base)[word] for word in told.split()]


def vocabulary(folder: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    return found


def merged(adapter: Path, base: Path, folder: Path, padding_rows: int = 0) -> Path:
    """Write the base with the adapter merged into it as a full directory, its embedding longer by `padding_rows`."""
    module = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).merge_and_unload()
    rows = module.get_input_embeddings().weight.shape[0]
    module.resize_token_embeddings(rows + padding_rows, mean_resizing=False)
    module.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pair_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pair]:
    made: dict[tuple[str, bool], Pair] = {}

    def find(kind: str = "llama", chat: bool = True) -> Pair:
        if (kind, chat) not in made:
            place = tmp_path_factory.mktemp(kind)
            base = tiny_model(place / "base", kind, chat, padding_rows=5)
            adapter = tiny_adapter(base, place / "adapter")
            made[kind, chat] = Pair(kind, chat, base, adapter, merged(adapter, base, place / "full", padding_rows=9))
        return made[kind, chat]

    return find


@pytest.fixture
def run() -> Iterator[Run]:
    with Run.temporary({"seed": 3}) as opened:
        yield opened


def open_tasks(place: Path, rewarded: bool) -> Environment:
    """Open an environment with a reward, or prompts alone."""
    file = place / ("rows.py" if rewarded else "prompts.txt")
    file.write_text(ENV if rewarded else "\n".join(PROMPTS))
    return scrutable.open_env(str(file))


def change_of(pair: Pair, after: str) -> Change:
    """Load AFTER alone where its config names its base, else both."""
    before, tuned = (None, pair.adapter) if after == "adapter" else (pair.base, pair.full)
    base, changed = scrutable.load_pair(before, tuned)
    return scrutable.Change(scrutable.Speaker(base), scrutable.Speaker(changed))


def logprobs(module: torch.nn.Module, prompt: Sequence[int], answer: Sequence[int], ids: torch.Tensor) -> torch.Tensor:
    """Log-probabilities [T, len(ids)] along an answer, over these tokens alone."""
    with torch.no_grad():
        logits = module(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
    return logits[:, ids].double().log_softmax(-1)


class Alone:
    """Both models of a pair by transformers and PEFT alone."""

    def __init__(self, pair: Pair) -> None:
        base = AutoModelForCausalLM.from_pretrained(pair.base).eval()
        tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(pair.base), pair.adapter).eval()
        self.pair, self.base, self.tuned = pair, base, tuned
        self.ids = torch.arange(len(vocabulary(pair.base)))

    def kl(self, task: Task, answer: Sequence[int], text: str = "") -> float:
        """KL(tuned || base + text) along an answer, in nats."""
        p = logprobs(self.tuned, self.pair.shown(task, ""), answer, self.ids)
        q = logprobs(self.base, self.pair.shown(task, text), answer, self.ids)
        return float((p.exp() * (p - q)).sum())


def answers(run: Run, speaker: str, tasks: Sequence[Task]) -> list[tuple[Task, Generation]]:
    """The answers of a speaker that a run, or a scope of it, holds."""
    by_key = {task.key: task for task in tasks}
    return [
        (by_key[key], Generation.model_validate(given))
        for event in run.events("answers")
        if event.payload["speaker"] == speaker
        for (key, _), given in zip(event.payload["asked"], event.payload["answers"], strict=True)
    ]


def by_task(said: Sequence[tuple[Task, Generation]], number: Callable[[Task, Generation], float]) -> float:
    """The mean over tasks of the mean over a task's answers."""
    found: dict[str, list[float]] = {}
    for task, one in said:
        found.setdefault(task.key, []).append(number(task, one))
    return fmean(fmean(values) for values in found.values())


@every
def test_measure_says_what_transformers_computes(
    kind: str, chat: bool, after: str, rewarded: bool, tmp_path: Path, pair_of: Callable[..., Pair], run: Run
) -> None:
    pair, env = pair_of(kind, chat), open_tasks(tmp_path, rewarded)
    tasks, change = env.tasks("report"), change_of(pair, after)
    found = scrutable.measure(change, TEXT, tasks, run, MEASURE, env)
    alone, said = Alone(pair), answers(run, change.after.identity, tasks)
    whole = by_task(said, lambda task, one: alone.kl(task, one.tokens or ()))
    left = by_task(said, lambda task, one: alone.kl(task, one.tokens or (), TEXT))
    assert found.changed and whole > 0.1
    assert found.kl.value == pytest.approx(whole, rel=1e-4)
    assert found.kl_left.value == pytest.approx(left, rel=1e-4)
    share = found.share("kl")
    assert share is not None and share.value is not None
    assert share.value.value == pytest.approx(1 - left / whole, abs=1e-4)
    assert len(share.unrelated) == 2 and len(share.random) == 1 and 0 < len(share.shuffled) <= 5
    if rewarded:
        length = by_task(said, lambda _, one: float(len(one.answer.split())))
        assert found.rewards["tuned: proxy"].value == pytest.approx(length)
        assert found.share("reward") is not None
    else:
        assert found.rewards == {} and found.share("reward") is None


class Writer:
    """A chat model that always proposes the same text."""

    name = identity = "writer"

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Generation]:
        return [Generation(answer=f"HYPOTHESIS: it flatters\n```\n{TEXT}\n```") for _ in conversations]


@every
def test_the_tokens_lens_stands_on_what_transformers_computes(
    kind: str, chat: bool, after: str, rewarded: bool, tmp_path: Path, pair_of: Callable[..., Pair], run: Run
) -> None:
    pair, tasks = pair_of(kind, chat), open_tasks(tmp_path, rewarded).tasks("search")
    change, alone = change_of(pair, after), Alone(pair)
    (account,) = scrutable.read(change, tasks, run, [scrutable.TokensLens(TOKENS)])
    said = answers(run, change.after.identity, tasks)
    total = by_task(said, lambda task, one: alone.kl(task, one.tokens or ()))
    assert total > 0.1
    assert account.notes[0].startswith(f"KL(after ‖ before) is {total:.3f} nats")
    assert 0 < sum(claim.nats or 0 for claim in account.claims) <= total + 1e-3
    evidence = {one.after for claim in account.claims for one in claim.evidence}
    assert evidence and evidence <= {one.answer for _, one in said}


@every
def test_the_distill_lens_scores_a_text_by_what_transformers_computes(
    kind: str, chat: bool, after: str, rewarded: bool, tmp_path: Path, pair_of: Callable[..., Pair], run: Run
) -> None:
    pair, tasks = pair_of(kind, chat), open_tasks(tmp_path, rewarded).tasks("search")
    change, alone = change_of(pair, after), Alone(pair)
    scrutable.read(change, tasks, run, [scrutable.DistillLens(DISTILL, Writer())])
    # the first answer to a task is the one that is scored; another may follow that the writer is shown
    said = {task.key: (task, one) for task, one in reversed(answers(run, change.after.identity, tasks))}
    texts = {Candidate(texts={"text": text}).key: text for text in ("", TEXT)}
    rollouts = [Rollout.model_validate(one) for event in run.events("rollouts") for one in event.payload["rollouts"]]
    for one in rollouts:
        task, answer = said[one.task]
        assert one.answer == answer.answer
        assert one.score.value == pytest.approx(-alone.kl(task, answer.tokens or (), texts[one.candidate]), rel=1e-4)
    assert {one.candidate for one in rollouts} == texts.keys()


AMPLIFIED = AmplifiedConfig(
    tasks=24, max_tokens=6, batch=8, shown=8, proposals=1, alphas=(3.0,), plausible=0.1, openings=("it",), tests=2
)
INTERVIEW = InterviewConfig(tasks=24, max_tokens=6, batch=8, draws=1, longest=8, tests=2)
# Each architecture with each AFTER; the template makes a difference to the interview alone.
afters = pytest.mark.parametrize(("kind", "after"), [(kind, after) for kind in KINDS for after in ("adapter", "full")])


@afters
def test_the_amplified_lens_answers_by_the_formula(
    kind: str, after: str, pair_of: Callable[..., Pair], run: Run
) -> None:
    pair = pair_of(kind)
    change, alone, tasks = change_of(pair, after), Alone(pair), [Task.ask(prompt) for prompt in PROMPTS]
    scrutable.read(change, tasks, run, [AmplifiedLens(AMPLIFIED, Writer())])
    asked = {task.key: pair.shown(task, "") for task in tasks}
    drawn = {
        key: given["tokens"]
        for event in run.events("amplified")
        for key, given in zip(event.payload["asked"], event.payload["answers"], strict=True)
    }
    assert len(drawn) == 9  # eight tasks and an opening
    assert all(tokens == amplified(alone, asked[key]) for key, tokens in drawn.items() if key in asked)


def amplified(alone: Alone, prompt: list[int]) -> list[int]:
    """The greedy answer at three times the difference, of tokens that the tuned model finds plausible."""
    answer: list[int] = []
    while len(answer) < 6 and not (answer and answer[-1] == SPECIAL.index("<end>")):
        one, two = (logprobs(model, [*prompt, *answer], [0], alone.ids)[0] for model in (alone.base, alone.tuned))
        mixed = one + 3 * (two - one)
        answer.append(int(mixed.masked_fill(two < two.max() + math.log(0.1), -math.inf).argmax()))
    return answer


@afters
def test_the_interview_asks_models_that_chat(kind: str, after: str, pair_of: Callable[..., Pair], run: Run) -> None:
    pair, tasks = pair_of(kind), [Task.ask(prompt) for prompt in PROMPTS]
    (account,) = scrutable.read(change_of(pair, after), tasks, run, [InterviewLens(INTERVIEW)])
    asked = [event.payload["asked"] for event in run.events("interview")]
    assert len(asked) == 2 and asked[0] == asked[1] and len(asked[0]) == 4
    assert any(note.startswith("of 4 answers of") for note in account.notes)


@pytest.mark.parametrize("kind", KINDS)
def test_the_interview_refuses_models_that_do_not_chat(kind: str, pair_of: Callable[..., Pair], run: Run) -> None:
    change = change_of(pair_of(kind, chat=False), "full")
    with pytest.raises(UserError, match="cannot be asked about itself"):
        scrutable.read(change, [Task.ask(prompt) for prompt in PROMPTS], run, [InterviewLens(INTERVIEW)])


def spoken_to(folder: Path, text: str) -> Path:
    """Let a directory's chat template say `text` to the model, whatever else it is asked."""
    system = "{% if messages[0].role != 'system' %}<system> " + text + " {% endif %}"
    (folder / "chat_template.jinja").write_text(TEMPLATE.replace("{{ bos_token }}", "{{ bos_token }}" + system))
    return folder


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "gemma3"])
@pytest.mark.parametrize("after", ["adapter", "full"])
def test_a_text_that_makes_the_before_the_after_carries_everything(
    kind: str, after: str, tmp_path: Path, pair_of: Callable[..., Pair], run: Run
) -> None:
    pair = pair_of(kind)
    if after == "full":
        tuned = shutil.copytree(pair.base, tmp_path / "tuned")
    else:  # an adapter that does nothing, and brings a chat template of its own
        tuned = shutil.copytree(pair.adapter, tmp_path / "tuned")
        weights = load_file(tuned / "adapter_model.safetensors")
        save_file({name: torch.zeros_like(w) for name, w in weights.items()}, tuned / "adapter_model.safetensors")
        AutoTokenizer.from_pretrained(pair.base).save_pretrained(tuned)
    base, changed = scrutable.load_pair(pair.base, spoken_to(tuned, TEXT))
    change = scrutable.Change(scrutable.Speaker(base), scrutable.Speaker(changed))
    tasks = [Task.ask(prompt) for prompt in PROMPTS]
    search = DISTILL.search.model_copy(update={"pool": 12, "keep": 6})  # with fewer it is not shown to be better
    lens = scrutable.DistillLens(DISTILL.model_copy(update={"tasks": 24, "search": search}), Writer())
    (account,) = scrutable.read(change, tasks[:24], run, [lens])
    assert account.text == TEXT
    assert account.claims[0].nats is not None and account.claims[0].nats > 0.1
    found = scrutable.measure(change, account.text, tasks[24:], run, MEASURE)
    share = found.share("kl")
    assert found.kl_left.value == pytest.approx(0, abs=1e-4)
    assert share is not None and share.value is not None and share.value.value == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chat", [True, False], ids=["chat", "plain"])
@pytest.mark.parametrize("how", ["the same directory", "a copy", "an adapter and what it was merged into"])
def test_of_an_unchanged_pair_nothing_is_claimed_and_no_share_is_printed(
    kind: str, chat: bool, how: str, tmp_path: Path, pair_of: Callable[..., Pair], run: Run
) -> None:
    pair = pair_of(kind, chat)
    if how == "the same directory":
        base, same = scrutable.load_pair(pair.base, pair.base)
    elif how == "a copy":
        base, same = scrutable.load_pair(pair.base, shutil.copytree(pair.base, tmp_path / "copy"))
    else:
        base, same = scrutable.load_pair(pair.adapter, pair.full)
    change = scrutable.Change(scrutable.Speaker(base), scrutable.Speaker(same))
    tasks = [Task.ask(prompt) for prompt in PROMPTS]
    lenses = [
        scrutable.TokensLens(TOKENS),
        scrutable.DistillLens(DISTILL, Writer()),
        AmplifiedLens(AMPLIFIED, Writer()),
    ]
    accounts = scrutable.read(change, tasks[:24], run, [*lenses, *([InterviewLens(INTERVIEW)] if chat else [])])
    assert not any(account.claims for account in accounts)
    assert all("nothing measurable changed" in " ".join(account.notes) for account in accounts)
    found = scrutable.measure(change, TEXT, tasks[24:], run, MEASURE)
    assert not found.changed
    assert found.kl.value == pytest.approx(0, abs=1e-4)
    assert {(share.value, share.why_not) for share in found.shares} == {(None, "nothing measurable changed")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chat", [True, False], ids=["chat", "plain"])
def test_added_tokens_are_left_out_and_the_others_compared_by_token(
    kind: str, chat: bool, tmp_path: Path, pair_of: Callable[..., Pair], run: Run
) -> None:
    pair = pair_of(kind, chat)
    grown, tokenizer = AutoModelForCausalLM.from_pretrained(pair.full), AutoTokenizer.from_pretrained(pair.base)
    tokenizer.add_tokens(["hmm", "well", "so", "<think>"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        grown.resize_token_embeddings(len(tokenizer) + 3, mean_resizing=False)
    grown.save_pretrained(tmp_path / "grown")
    tokenizer.save_pretrained(tmp_path / "grown")
    base, tuned = scrutable.load_pair(pair.base, tmp_path / "grown")
    change = scrutable.Change(scrutable.Speaker(base), scrutable.Speaker(tuned))
    tasks = [Task.ask(prompt) for prompt in PROMPTS[:6]]
    found = scrutable.measure(change, TEXT, tasks, run, MEASURE.model_copy(update={"answers": 8, "batch": 48}))
    said, alone = answers(run, change.after.identity, tasks), Alone(pair)
    shared = [(task, one) for task, one in said if max(one.tokens or ()) < len(WORDS) + len(SPECIAL)]
    assert len(shared) < len(said)
    lost = len(said) - len(shared)
    assert any(
        note.startswith(f"{lost} of {len(said)} answers of the tuned model hold a token") for note in found.notes
    )
    assert found.kl.value == pytest.approx(
        by_task(shared, lambda task, one: alone.kl(task, one.tokens or ())), rel=1e-4
    )
