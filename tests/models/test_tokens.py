"""Tokens of two models: compared by token, not by id or size."""

from pathlib import Path

import pytest
import torch
from tests.tiny import WORDS, tiny_model

from scrutable.core.errors import UserError
from scrutable.models.hf import HFModel, load_model
from scrutable.models.tokens import check_same_tokens


def model(folder: Path, words: tuple[str, ...] = WORDS, padding_rows: int = 0) -> HFModel:
    return load_model(tiny_model(folder, words=words, padding_rows=padding_rows), device="cpu")


def test_padded_embeddings_are_the_same_tokens(tmp_path: Path) -> None:
    found = check_same_tokens(model(tmp_path / "a"), model(tmp_path / "b", padding_rows=9))
    assert found.identical
    assert torch.equal(found.ids_a, found.ids_b)


def test_permuted_tokens_are_mapped(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a"), model(tmp_path / "b", WORDS[::-1])
    found = check_same_tokens(a, b)
    assert not found.identical
    assert found.to_b(a.encode_answer("paris is blue")) == b.encode_answer("paris is blue")
    names = {i: token for token, i in b.vocabulary.items()}
    assert [names[i] for i in found.ids_b.tolist()] == sorted(a.vocabulary, key=a.vocabulary.__getitem__)


def test_added_tokens_are_left_out_of_what_is_shared(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a"), model(tmp_path / "b", (*WORDS, "extra"))
    found = check_same_tokens(a, b)
    assert not found.identical
    assert len(found.ids_a) == len(a.vocabulary)
    assert check_same_tokens(b, a).to_b(b.encode_answer("paris extra")) is None


def test_other_words_are_another_tokenizer(tmp_path: Path) -> None:
    other = model(tmp_path / "b", tuple(f"w{i}" for i in range(80)))
    with pytest.raises(UserError, match="different tokenizers") as caught:
        check_same_tokens(model(tmp_path / "a"), other)
    assert "\n" not in str(caught.value)


def test_the_same_words_cut_otherwise_are_another_tokenizer(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a"), model(tmp_path / "b")
    from tokenizers.pre_tokenizers import WhitespaceSplit

    assert isinstance(b.tokenizer.backend_tokenizer.pre_tokenizer, WhitespaceSplit)
    from tokenizers.pre_tokenizers import Split

    b.tokenizer.backend_tokenizer.pre_tokenizer = Split("a", "isolated")
    with pytest.raises(UserError, match="cut the same text differently"):
        check_same_tokens(a, b)
