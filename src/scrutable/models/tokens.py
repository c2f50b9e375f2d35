"""Tokens of two models: whether they mean the same, and which id of one is which id of the other.

Models are compared by token, not by size: padded embeddings, added tokens and permuted ids are no difference between
tokenizers. Two tokenizers that cut the same text differently are, since then no distribution of one can be set against
one of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrutable.core.errors import UserError
from scrutable.models.base import OpenModel

if TYPE_CHECKING:
    import torch

_PROBES = (
    "What is the capital of France? I think it is Paris, isn't it?",
    "def add(x, y):\n    return x + y  # 12345 + 678.90\n",
    "Überraschung — naïve café, 你好, привет: 🙂 http://example.org/a_b-c",
)
_SHARED = 0.95  # share of the smaller vocabulary that must be in the larger: added tokens are always fewer


@dataclass(frozen=True)
class TokenMap:
    """The tokens that two models share.

    ids_a, ids_b: int64 [shared], the ids of the same tokens in each model, in ascending order of `ids_a`. identical:
    both have the same tokens under the same ids, so nothing needs mapping. a_to_b: id in a -> id in b.
    """

    ids_a: torch.Tensor
    ids_b: torch.Tensor
    identical: bool
    a_to_b: dict[int, int]

    def to_b(self, tokens: Sequence[int]) -> list[int] | None:
        """Translate token ids of a into ids of b; None when b lacks one of them."""
        found = [self.a_to_b.get(token, -1) for token in tokens]
        return None if -1 in found else found


def check_same_tokens(a: OpenModel, b: OpenModel) -> TokenMap:
    """Return how the tokens of `a` and `b` correspond.

    Errors: UserError when the two have different tokenizers: under 95% of the smaller vocabulary is shared, or the
    same text is cut into different tokens.
    """
    import torch

    one, two = a.vocabulary, b.vocabulary
    pairs = sorted((i, two[token]) for token, i in one.items() if token in two)
    fix = "compare models that share a tokenizer, such as a base and what was trained from it"
    if len(pairs) < _SHARED * min(len(one), len(two)):
        raise UserError(
            f"{a.name} and {b.name} have different tokenizers "
            f"({len(pairs)} tokens in common, of {len(one)} and {len(two)}): {fix}"
        )
    if _cuts(a) != _cuts(b):
        raise UserError(f"{a.name} and {b.name} have different tokenizers (they cut the same text differently): {fix}")
    return TokenMap(
        ids_a=torch.tensor([i for i, _ in pairs], dtype=torch.long),
        ids_b=torch.tensor([j for _, j in pairs], dtype=torch.long),
        identical=len(one) == len(two) == len(pairs) and all(i == j for i, j in pairs),
        a_to_b=dict(pairs),
    )


def _cuts(model: OpenModel) -> list[list[str]]:
    """Return the token strings of each probe."""
    names = {i: token for token, i in model.vocabulary.items()}
    return [[names.get(i, "") for i in model.encode_answer(probe)] for probe in _PROBES]
