"""Models that need no weights: scripted answers, and answers recorded once and replayed.

They ship with the library, so that examples, docs and tests run without a key, a download or a GPU.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scrutable.core.errors import ModelFailure, UserError, boundary
from scrutable.core.records import Conversation, Generation, Sampling, Usage, digest_of
from scrutable.models.base import Model

Script = Callable[[Conversation], str] | Mapping[str, str]


class ScriptedModel:
    """A Model that answers by a function of the conversation, or by a mapping from the last user message.

    A script that raises, or a message the mapping lacks, gives a failed Generation, as a real model's error would.
    identity: give one when two scripts under one name must be told apart.
    """

    def __init__(self, script: Script, *, name: str = "scripted", identity: str | None = None) -> None:
        self._script = script
        self._name = name
        told = dict(script) if isinstance(script, Mapping) else getattr(script, "__qualname__", type(script).__name__)
        self._identity = identity or digest_of({"scripted": name, "script": told})

    @property
    def name(self) -> str:
        """The given name."""
        return self._name

    @property
    def identity(self) -> str:
        """Hash of the name and the mapping (of a function: its qualified name)."""
        return self._identity

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Generation]:
        """Answer each conversation by the script (see `Model`)."""
        return [self._one(conversation) for conversation in conversations]

    def _one(self, conversation: Conversation) -> Generation:
        try:
            with boundary(ModelFailure):
                if isinstance(self._script, Mapping):
                    asked = next((m.content for m in reversed(conversation) if m.role == "user"), "")
                    answer = self._script[asked]
                else:
                    answer = self._script(conversation)
        except ModelFailure as failure:
            return Generation(failure=str(failure))
        usage = Usage(
            generations=1,
            prompt_tokens=sum(len(m.content.split()) for m in conversation),
            answer_tokens=len(answer.split()),
        )
        return Generation(answer=answer, usage=usage)


class RecordedModel:
    """A Model that replays the answers in a JSONL file; with `model`, what the file lacks is asked once and recorded.

    An answer is found by conversation, sampling, and which occurrence of the conversation in its batch it is. Failed
    answers are not recorded. Errors: UserError when an answer is not recorded and there is no model to ask.
    """

    def __init__(self, file: str | Path, model: Model | None = None) -> None:
        self._file = Path(file)
        self._model = model
        self._lock = threading.Lock()
        self._kept: dict[str, Generation] = {}
        self._name, self._identity = "recorded", digest_of({"recorded": self._file.name})
        if self._file.exists():
            self._read()
        elif model is None:
            raise UserError(f"there is no recording {file}: record it first, with a model")
        if model is not None:
            self._name, self._identity = model.name, model.identity

    @property
    def name(self) -> str:
        """The recorded model's name."""
        return self._name

    @property
    def identity(self) -> str:
        """The recorded model's identity."""
        return self._identity

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Generation]:
        """Answer each conversation from the recording (see `Model`)."""
        seen: Counter[Conversation] = Counter()
        keys: list[str] = []
        for conversation in conversations:
            seen[conversation] += 1
            told = [[m.role, m.content] for m in conversation]
            keys.append(digest_of([told, sampling.model_dump(mode="json"), seen[conversation]]))
        with self._lock:
            owed = [i for i, key in enumerate(keys) if key not in self._kept]
            found = dict(self._kept)
            if owed:
                if self._model is None:
                    asked = conversations[owed[0]][-1].content
                    raise UserError(f"{self._file} holds no answer to {asked[:80]!r}: record it again, with a model")
                made = self._model.generate([conversations[i] for i in owed], sampling)
                for i, generation in zip(owed, made, strict=True):
                    found[keys[i]] = generation
                    if generation.failure is None:
                        self._keep(keys[i], generation)
        return [found[key] for key in keys]

    def _read(self) -> None:
        for line in self._file.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                self._kept[entry["key"]] = Generation.model_validate(entry["generation"])
                self._name, self._identity = entry["name"], entry["identity"]
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{self._file} is no recording of answers: record it again ({error!r:.80})") from error

    def _keep(self, key: str, generation: Generation) -> None:
        self._kept[key] = generation
        entry = {
            "key": key,
            "name": self._name,
            "identity": self._identity,
            "generation": generation.model_dump(mode="json"),
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
