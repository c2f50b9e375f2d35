"""Reflection: a model looks at answers and what a rater said of them, and writes texts.

Two writers. `ChatWriter` asks a chat model in English: hypotheses first, then a text by each. `RuleWriter` is for models that
were taught to write in a format of their own: a `reflection.json` in the model's directory says how they are asked, and
the answer as it stands is the text. What cannot be used (nothing in a block, an answer cut off, a task copied) is a counted
failure, and never passed on as a text.

This module chooses between them, and is where their names are imported from.
"""

from __future__ import annotations

from collections.abc import Sequence

from scrutable.evolve.chat_writer import ChatWriter
from scrutable.evolve.room import shortened
from scrutable.evolve.rule_writer import RuleFormat, RuleWriter, read_format
from scrutable.evolve.writing import Item, Proposal, Proposer, ReflectConfig, identity_of
from scrutable.models.base import Model
from scrutable.models.beside import file_of

__all__ = [
    "FORMAT",
    "ChatWriter",
    "Item",
    "Proposal",
    "Proposer",
    "ReflectConfig",
    "RuleFormat",
    "RuleWriter",
    "identity_of",
    "proposer_for",
    "read_format",
    "shortened",
]

FORMAT = "reflection.json"


def proposer_for(
    model: Model, config: ReflectConfig | None = None, *, imitate: bool = False, evidence: Sequence[str] = ()
) -> RuleWriter | ChatWriter:
    """Return the writer that fits the model: by the `reflection.json` of its directory, or as a chat model.

    imitate: the answers are demonstrations by a model whose ways are to be put into words. evidence: what is known from
    elsewhere, one line each; only a chat model is told. Errors: UserError when the file is malformed.
    """
    config = config or ReflectConfig()
    file = file_of(model, FORMAT)
    if file is not None:
        return RuleWriter(model, read_format(file), config, evidence=evidence)
    return ChatWriter(model, config, imitate=imitate, evidence=evidence)
