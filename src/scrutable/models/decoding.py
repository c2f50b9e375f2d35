"""Decoding: answers drawn, and answers scored, by one loop over a key-value cache.

transformers' own `generate` is not used: it obeys a model's generation_config (top-k, top-p, repetition penalties)
and draws from the global generator. Here the whole distribution is drawn from, by one uniform number for each answer
and step, so a draw depends on neither its batch nor other answers. It is as quick where all prompts differ, and
quicker where they repeat, or begin alike.

Prompts are padded on the left and passed through once each, however many answers follow; a beginning that all share
(a system text) is passed through once; answers are padded on the right. Masked padding and explicit positions keep a
row independent of its neighbours, up to rounding. Shapes: B answers, U unique prompts, P prompt tokens, A answer
tokens, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrutable.core.errors import ModelFailure

if TYPE_CHECKING:
    import torch


_WORTH_SHARING = 8  # tokens; below, a second call of the model costs more


@dataclass(frozen=True)
class Drawing:
    """How answers are drawn: temperature (0 is greedy), most tokens, ids that end an answer, size of the vocabulary."""

    temperature: float
    limit: int
    ends: frozenset[int]
    vocabulary: int


def draw_answers(
    module: Any, prompts: Sequence[Sequence[int]], uniforms_BA: torch.Tensor, how: Drawing, *, apart: bool = False
) -> list[list[int]]:
    """Answer each prompt; an answer that ended has its end token last.

    uniforms_BA: float64 in [0, 1), on the CPU; column t draws answer token t. apart: pass each prompt for itself, whole and
    padded on the left in the first pass, also where it equals another (something is done to its row alone).
    Errors: ModelFailure when the model's logits are not numbers.
    """
    import torch

    # MPS has no float64, which masses are summed in: there tokens are picked on the CPU.
    place = torch.device("cpu") if module.device.type == "mps" else module.device
    uniforms_BA = uniforms_BA.to(place)
    ends = torch.tensor(sorted(how.ends), device=module.device, dtype=torch.long)
    answers: list[list[int]] = [[] for _ in prompts]
    alive = torch.arange(len(prompts), device=module.device)
    with torch.no_grad():
        logits_BV, state = _prefill(module, prompts, apart)
        for step in range(how.limit):
            logits_BV = logits_BV[:, : how.vocabulary].to(place)
            tokens_B = _pick(logits_BV, uniforms_BA[alive.to(place), step], how.temperature).to(module.device)
            for row, token in zip(alive.tolist(), tokens_B.tolist(), strict=True):
                answers[row].append(token)
            going = ~torch.isin(tokens_B, ends)
            if step + 1 == how.limit or not bool(going.any()):
                break
            if not bool(going.all()):  # finished answers leave the batch: the cache is copied each step anyway
                state.select(going.nonzero()[:, 0])
                alive, tokens_B = alive[going], tokens_B[going]
            logits_BV = state.forward(tokens_B[:, None])[:, -1]
    return answers


def score_answers(
    module: Any, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], vocabulary: int
) -> list[torch.Tensor]:
    """Return log-probabilities [len(answer), vocabulary], float32, of each answer after its prompt."""
    import torch

    with torch.no_grad():
        first_BV, state = _prefill(module, prompts)
        parts = [first_BV[:, None, :vocabulary]]
        longest = max(len(answer) for answer in answers)
        if longest > 1:
            shape = (len(answers), longest - 1)
            ids_BA = torch.zeros(shape, dtype=torch.long)
            for row, answer in enumerate(answers):
                ids_BA[row, : len(answer) - 1] = torch.tensor(answer[:-1], dtype=torch.long)
            # What pads the right of an answer lies in its future: nothing needs to be masked.
            parts.append(state.forward(ids_BA.to(module.device))[:, :, :vocabulary])
        logits_BAV = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        return [logits_BAV[row, : len(answer)].float().log_softmax(-1) for row, answer in enumerate(answers)]


def score_alone(module: Any, prompt: Sequence[int], answer: Sequence[int], vocabulary: int) -> torch.Tensor:
    """The same for one answer without a cache: for models whose cache cannot be continued by several tokens."""
    import torch

    with torch.no_grad():
        ids = torch.tensor([[*prompt, *answer]], device=module.device)
        rows = module(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1, :vocabulary]
        found: torch.Tensor = rows.float().log_softmax(-1)
        return found


def continues(module: Any) -> bool:
    """Whether the model's cache holds keys and values (which any number of tokens can follow), not a running state."""
    kinds = getattr(module.config.get_text_config(), "layer_types", None) or ("full_attention",)
    return all(kind in ("full_attention", "sliding_attention") for kind in kinds)


class _State:
    """The cache of a batch, its mask, and the next position of each row."""

    def __init__(self, module: Any, cache: Any, mask: torch.Tensor, positioned: bool) -> None:
        self.module = module
        self.cache = cache
        self.mask = mask
        self.positioned = positioned

    def select(self, rows: torch.Tensor) -> None:
        self.cache.reorder_cache(rows)
        self.mask = self.mask[rows]

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Pass further tokens [B, n]; return logits [B, n, rows of the embedding]."""
        import torch

        seen = self.mask.sum(-1, keepdim=True)
        self.mask = torch.cat([self.mask, torch.ones_like(ids)], dim=1)
        ahead = torch.arange(ids.shape[1], device=ids.device)[None]
        where = {"position_ids": seen + ahead} if self.positioned else {}
        out = self.module(input_ids=ids, attention_mask=self.mask, past_key_values=self.cache, use_cache=True, **where)
        self.cache = out.past_key_values
        logits: torch.Tensor = out.logits
        return logits


def _prefill(module: Any, prompts: Sequence[Sequence[int]], apart: bool = False) -> tuple[torch.Tensor, _State]:
    """Pass each unique prompt once, and what all begin with only once; return last logits [B, rows] and the state.

    apart: pass each prompt for itself.
    """
    import torch

    order: dict[tuple[int, ...], int] = {}
    which = list(range(len(prompts))) if apart else [order.setdefault(tuple(one), len(order)) for one in prompts]
    passed = [tuple(prompt) for prompt in prompts] if apart else list(order)
    takes = inspect.signature(module.forward).parameters
    cache, shared = None, 0 if apart else _shared(module, passed)
    if shared:
        ids = torch.tensor([passed[0][:shared]], device=module.device)
        cache = module(input_ids=ids, use_cache=True, **_last(takes)).past_key_values
        cache.reorder_cache(torch.zeros(len(passed), dtype=torch.long, device=module.device))
    width = max(map(len, passed)) - shared
    ids_UP = torch.zeros((len(passed), width), dtype=torch.long)
    real_UP = torch.zeros((len(passed), width), dtype=torch.long)
    for row, prompt in enumerate(passed):
        own = prompt[shared:]
        ids_UP[row, width - len(own) :] = torch.tensor(own, dtype=torch.long)
        real_UP[row, width - len(own) :] = 1
    ids_UP, real_UP = ids_UP.to(module.device), real_UP.to(module.device)
    mask_UP = torch.cat([real_UP.new_ones((len(passed), shared)), real_UP], dim=1)
    positioned = "position_ids" in takes
    where = {"position_ids": (shared + real_UP.cumsum(-1) - 1).clamp(min=0)} if positioned else {}
    out = module(
        input_ids=ids_UP, attention_mask=mask_UP, past_key_values=cache, use_cache=True, **where, **_last(takes)
    )
    state = _State(module, out.past_key_values, mask_UP, positioned)
    logits = out.logits[:, -1]
    if which != list(range(len(passed))):
        rows = torch.tensor(which, device=module.device)
        state.select(rows)
        logits = logits[rows]
    return logits, state


def _shared(module: Any, prompts: Sequence[tuple[int, ...]]) -> int:
    """Tokens that all prompts begin with (a common system text), where passing them once is worth it and exact.

    Padding then lies after them, within the prompt: masked, but a sliding window would count it.
    """
    config = module.config.get_text_config()
    if len(prompts) < 2 or not continues(module) or getattr(config, "sliding_window", None):
        return 0
    lowest, highest = min(prompts), max(prompts)  # in the order of tuples: what these share, all share
    length = min(map(len, prompts)) - 1  # each keeps a token of its own, for its logits
    same = next((i for i in range(length) if lowest[i] != highest[i]), length)
    return same if same >= _WORTH_SHARING else 0


def _last(takes: Any) -> dict[str, int]:
    return {"logits_to_keep": 1} if "logits_to_keep" in takes else {}


def _pick(logits_BV: torch.Tensor, uniforms_B: torch.Tensor, temperature: float) -> torch.Tensor:
    """Draw a token for each row by inverting the cumulative distribution at its uniform number."""
    import torch

    if temperature == 0:
        if bool(logits_BV.isnan().any()):
            raise ModelFailure("the logits are not numbers: load the model with dtype float32")
        return logits_BV.argmax(-1)
    mass_BV = (logits_BV.float() / temperature).softmax(-1).cumsum(-1, dtype=torch.float64)
    total_B1 = mass_BV[:, -1:]
    if bool(total_B1.isnan().any()):
        raise ModelFailure("the logits are not numbers: load the model with dtype float32")
    # right=True: the first token whose mass lies above the number, so one of probability 0 is never drawn; nor at the
    # end, where the product may round up to the total.
    wanted_B1 = torch.minimum(uniforms_B[:, None] * total_B1, torch.nextafter(total_B1, torch.zeros_like(total_B1)))
    return torch.searchsorted(mass_BV, wanted_B1, right=True)[:, 0]


class Stepping:
    """A batch that goes on by tokens that somebody else picks. logits: of the next token, [B, rows of the embedding].

    The caller holds the module with the right adapter on, at the beginning and at each step.
    """

    def __init__(self, module: Any, prompts: Sequence[Sequence[int]]) -> None:
        import torch

        with torch.no_grad():
            self.logits, self._state = _prefill(module, prompts)

    def follow(self, rows: torch.Tensor, tokens: torch.Tensor) -> None:
        """Keep these rows (int64 [b]), and pass a token of each (int64 [b])."""
        import torch

        with torch.no_grad():
            if len(rows) < len(self.logits):
                self._state.select(rows)
            self.logits = self._state.forward(tokens[:, None])[:, -1]


def picked(logits_BV: torch.Tensor, uniforms_B: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the token that each row's number in [0, 1) draws at this temperature, int64 [B]. Errors: as `draw_answers`."""
    return _pick(logits_BV, uniforms_B, temperature)
