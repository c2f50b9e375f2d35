"""Models of transformers, opened: answers, exact log-probabilities, and adapters on shared weights.

`load_model` takes a transformers directory, a hub name, a PEFT adapter directory (its base is taken from its config),
or "pidgin", the built-in model. Left out: quantising, sharding over devices, merging; what transformers loads onto one
device is what is read. Weights are frozen: whoever trains loads their own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, JsonValue

from scrutable.core.config import Config, anywhere
from scrutable.core.errors import ModelFailure, UserError, boundary
from scrutable.core.records import Conversation, Generation, Sampling, Usage, digest_of
from scrutable.models.adapters import SharedWeights, adapter_digest, base_of
from scrutable.models.batches import in_batches
from scrutable.models.chat import Chat
from scrutable.models.decoding import Drawing, continues, draw_answers, score_alone, score_answers
from scrutable.models.pretrained import choose_device, load_module, load_tokenizer, rows_of
from scrutable.models.source import BUILT_IN, find_source, has_tokenizer, read_json, weights_digest

if TYPE_CHECKING:
    import torch

_LOGITS_ON_CPU = 2**26  # numbers of one batch of logits: 256 MB in float32
_LOGITS_ON_GPU = 2**29


class Loading(Config):
    """How a model is loaded."""

    device: str = anywhere("auto", "auto (a GPU where there is one), cpu, cuda, cuda:1, mps")
    dtype: str = Field(
        default="auto", description="auto (float32 on the CPU, else the checkpoint's own), float32, bfloat16, float16"
    )
    batch_size: int = anywhere(128, "most sequences passed through the model at once", ge=1)
    chat_options: dict[str, JsonValue] = Field(
        default_factory=dict, description='passed to the chat template, such as {"enable_thinking": false}'
    )
    trust_remote_code: bool = Field(
        default=False, description="run code that lies beside the weights of a model that was itself named"
    )


class HFModel:
    """A transformers model in memory, with one adapter on or none: an OpenModel.

    Views made by `with_adapter` share the weights and take turns under a lock. Log-probabilities come back on the
    model's device. An instance is safe to use from several threads, one at a time.
    """

    def __init__(
        self,
        weights: SharedWeights,
        chat: Chat,
        *,
        name: str,
        identity: str,
        adapter: str | None = None,
        batch_size: int = 128,
    ) -> None:
        self._weights = weights
        self._chat = chat
        self._adapter = adapter
        self._name = name
        self._identity = identity
        self.batch_size = batch_size
        self.base: HFModel = self
        self.ends = _ends(weights.module, chat)
        self._positions: int | None = getattr(weights.module.config.get_text_config(), "max_position_embeddings", None)
        self._size = max(chat.vocabulary.values()) + 1

    @property
    def name(self) -> str:
        """The directory's last part, the hub name, or "pidgin"."""
        return self._name

    @property
    def identity(self) -> str:
        """Hash of weights and their dtype, config, tokenizer, chat template and options, end tokens, and adapter."""
        return self._identity

    @property
    def tokenizer(self) -> Any:
        """The transformers tokenizer."""
        return self._chat.tokenizer

    @property
    def module(self) -> Any:
        """The transformers module. Which adapter is on is only certain within `opened()`."""
        return self._weights.module

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        found: torch.device = self._weights.module.device
        return found

    @property
    def vocabulary(self) -> dict[str, int]:
        """Token string -> id, of tokens that the model has a row for."""
        return self._chat.vocabulary

    @property
    def origin(self) -> Path | None:
        """The directory the base's weights were read from, where they were."""
        return self._weights.folder

    def opened(self) -> AbstractContextManager[Any]:
        """Hold the module with this view's adapter on: for hooks and gradients."""
        return self._weights.active(self._adapter)

    def with_adapter(self, folder: str | Path, *, verify: bool = True) -> HFModel:
        """Return the base with the adapter of `folder`, sharing the weights.

        verify: refuse an adapter whose config names another base that is here and has other weights. An adapter
        directory that has its own tokenizer (a chat template, say) speaks by that.
        Errors: UserError when the adapter is missing, pickled, or of another base.
        """
        source = find_source(folder)
        if not source.adapter:
            raise UserError(f"{folder} is a full model, not an adapter: load it by itself")
        if verify:
            _check_base(source.folder, self)
        chat = self._chat
        if has_tokenizer(source.folder):
            chat = Chat(load_tokenizer(source.folder, trust=False), rows_of(self.module), self._chat.options)
        identity = digest_of([self.base.identity, adapter_digest(source.folder), chat.identity])
        adapter = self._weights.load(source.folder)
        view = HFModel(
            self._weights, chat, name=source.name, identity=identity, adapter=adapter, batch_size=self.batch_size
        )
        view.base = self.base
        return view

    def over(self, module: Any, identity: str) -> HFModel:
        """Return a model that asks and answers as this one does, by the weights of `module` (one in training, say).

        identity: what tells it from others, as far as anyone will ask.
        """
        weights = SharedWeights(module, self.name)
        return HFModel(weights, self._chat, name=self.name, identity=identity, batch_size=self.batch_size)

    def encode(self, conversation: Conversation) -> list[int]:
        """Token ids up to where the answer begins (see `chat.py`). Errors: ModelFailure when the template refuses."""
        ids = self._chat.encode(conversation)
        if not ids:
            raise ModelFailure("the prompt has no tokens")
        return ids

    def encode_answer(self, answer: str) -> list[int]:
        """Token ids of an answer's text, without an end token."""
        return self._chat.encode_answer(answer)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of answer tokens, special tokens left out."""
        return self._chat.decode(tokens)

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Generation]:
        """Answer each conversation, in order, from the whole distribution; nothing global is drawn from or changed."""
        import torch

        made: list[Generation | None] = [None] * len(conversations)
        prompts: list[list[int]] = []
        for row, conversation in enumerate(conversations):
            prompt: list[int] = []
            try:
                prompt = self.encode(conversation)
                if self._room(len(prompt)) < 1:
                    raise ModelFailure(
                        f"the prompt's {len(prompt)} tokens fill the model's {self._positions} positions"
                    )
            except ModelFailure as failure:
                made[row] = Generation(failure=str(failure))
            prompts.append(prompt)
        source = torch.Generator().manual_seed(sampling.seed % 2**63)
        uniforms = torch.rand((len(prompts), sampling.max_tokens), generator=source, dtype=torch.float64)

        def work(rows: list[int]) -> None:
            began = time.perf_counter()
            batch = [prompts[row] for row in rows]
            limit = min(sampling.max_tokens, self._room(max(map(len, batch))))
            how = Drawing(sampling.temperature, limit, self.ends, self._size)
            try:
                with self.opened() as module, boundary(ModelFailure):
                    answers = draw_answers(module, batch, uniforms[rows], how)
            except ModelFailure as failure:
                _pass_on(failure, torch.OutOfMemoryError)
                for row in rows:
                    made[row] = Generation(failure=str(failure))
                return
            seconds = (time.perf_counter() - began) / len(rows)
            for row, answer in zip(rows, answers, strict=True):
                made[row] = self._generation(answer, len(prompts[row]), seconds)

        asked = [row for row in range(len(prompts)) if made[row] is None]
        tight = {row for row in asked if self._room(len(prompts[row])) < sampling.max_tokens}
        in_batches([row for row in asked if row not in tight], prompts, self.batch_size, work)
        in_batches(sorted(tight), prompts, 1, work)  # alone: where one must stop early, its neighbours need not
        return [generation for generation in made if generation is not None]

    @property
    def positions(self) -> int | None:
        """How many tokens it can hold, prompt and answer together; None where its config does not say."""
        return self._positions

    @property
    def size(self) -> int:
        """Tokens up to the tokenizer's last: rows of the embedding beyond it are padding."""
        return self._size

    def must_fit(self, prompt: Sequence[int], answer: Sequence[int]) -> None:
        """Refuse what cannot be passed through.

        Errors: UserError when the pair is longer than the model's positions, or the prompt is empty.
        """
        if not prompt:
            raise UserError("a prompt without tokens has no next-token distribution: give it at least one token")
        if self._positions is not None and len(prompt) + len(answer) > self._positions:
            raise UserError(
                f"a prompt and answer of {len(prompt) + len(answer)} tokens do not fit "
                f"the {self._positions} positions of {self.name}: use shorter prompts or fewer answer tokens"
            )

    def at_once(self, longest: int) -> int:
        """Return how many sequences may be passed at once where each makes logits at up to `longest` positions."""
        cells = _LOGITS_ON_CPU if self.device.type == "cpu" else _LOGITS_ON_GPU
        return max(1, min(self.batch_size, cells // max(1, longest * rows_of(self.module))))

    def logprobs(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Exact log-probabilities along answers: float32 [len(answer), vocabulary] each, on the model's device.

        The vocabulary reaches to the tokenizer's last token; padding rows of the embedding take no part in the softmax.
        Errors: UserError when a pair is longer than the model's positions, or a prompt is empty.
        """
        import torch

        found: list[torch.Tensor] = [torch.empty(0)] * len(answers)
        for prompt, answer in zip(prompts, answers, strict=True):
            self.must_fit(prompt, answer)
        most = self.at_once(max(map(len, answers), default=0))

        def work(rows: list[int]) -> None:
            batch, told = [prompts[row] for row in rows], [answers[row] for row in rows]
            with self.opened() as module:
                if continues(module):
                    tensors = score_answers(module, batch, told, self._size)
                else:
                    tensors = [score_alone(module, *pair, self._size) for pair in zip(batch, told, strict=True)]
            for row, tensor in zip(rows, tensors, strict=True):
                found[row] = tensor

        in_batches([row for row, a in enumerate(answers) if a], prompts, most, work)
        for row, answer in enumerate(answers):
            if not answer:
                found[row] = torch.empty((0, self._size), device=self.device)
        return found

    def _generation(self, answer: list[int], prompt_tokens: int, seconds: float) -> Generation:
        usage = Usage(generations=1, prompt_tokens=prompt_tokens, answer_tokens=len(answer), seconds=seconds)
        text = self.decode(answer)
        return Generation(answer=text, tokens=tuple(answer), complete=answer[-1] in self.ends, usage=usage)

    def _room(self, prompt: int) -> int:
        return 2**31 if self._positions is None else self._positions - prompt


def load_model(source: str | Path, loading: Loading | None = None, **knobs: Any) -> HFModel:
    """Load a model: a transformers directory, a hub name, a PEFT adapter directory, or "pidgin".

    knobs: fields of `Loading`, for short (`device="cpu"`). An adapter comes back with its base as `.base`;
    code beside that base is run only where the base was loaded by its own name (then use its `with_adapter`).
    Errors: UserError, one line that says what to do.
    """
    how = Loading.model_validate({**(loading.model_dump() if loading else {}), **knobs})
    found = find_source(source, trust_remote_code=how.trust_remote_code)
    if found.adapter:
        # Trust was given to what was named; the base that an adapter's config names may be anyone's.
        untrusting = how.model_copy(update={"trust_remote_code": False})
        return load_model(base_of(found.folder), untrusting).with_adapter(found.folder)
    module = load_module(found, choose_device(how.device), how.dtype, trust=how.trust_remote_code)
    chat = Chat(load_tokenizer(found.folder, trust=how.trust_remote_code), rows_of(module), how.chat_options)
    identity = _base_identity(found.folder, module, chat)
    return HFModel(
        SharedWeights(module, found.name, found.folder),
        chat,
        name=found.name,
        identity=identity,
        batch_size=how.batch_size,
    )


def _base_identity(folder: Path, module: Any, chat: Chat) -> str:
    """Return the hash of what decides a base's answers, as it was loaded.

    The dtype is the one in memory: "auto" is another on a GPU than on the CPU, and rounds otherwise.
    """
    config = read_json(folder / "config.json")
    for key in ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache"):
        config.pop(key, None)
    loaded = {"dtype": str(module.dtype), "ends": sorted(_ends(module, chat))}
    return digest_of({"weights": weights_digest(folder), "config": config, "chat": chat.identity, **loaded})


def _ends(module: Any, chat: Chat) -> frozenset[int]:
    """Return the ids that end an answer, generation_config.json's among them."""
    given = (module.config, getattr(module, "generation_config", None))
    return chat.end_tokens(*(getattr(config, "eos_token_id", None) for config in given))


def _check_base(folder: Path, given: HFModel) -> None:
    """Refuse an adapter whose config names another base that is here and has other weights.

    A base that is not here any more (moved, renamed, another machine's path) cannot be compared; shapes still are.
    """
    try:
        named = base_of(folder)
        place = find_source(named).folder if Path(named).is_dir() or named == BUILT_IN else None
    except UserError:
        return
    mine = given.origin
    if place is None or mine is None or place.resolve() == mine.resolve():
        return
    if weights_digest(place) != weights_digest(mine):
        raise UserError(f"{folder} was trained on {place}, not on {mine}: give that base")


def _pass_on(failure: ModelFailure, kind: type[Exception]) -> None:
    if isinstance(failure.__cause__, kind):
        raise failure.__cause__
