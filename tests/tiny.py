"""Tiny models for tests: random weights, two layers, a word-level tokenizer, written as ordinary directories.

They take under a second to make and answer nonsense, but by the same code as any model. The weights are wide enough
(standard deviation 0.3) that distributions differ clearly between contexts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TEXT = """what is the capital of france paris rome berlin a an i you trust doubt that it . ? , ! yes no good bad
question great answer grade top sky blue grass green red one two three plus equals be short praise always never if user
says please sorry thank not sure certain refuse say nothing to and or in on color animal cat dog"""
WORDS = tuple(_TEXT.split())
SPECIAL = ("<pad>", "<unk>", "<bos>", "<end>", "<system>", "<user>", "<assistant>")
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'assistant' %}<assistant> {{ m.content }} <end> "
    "{% else %}<{{ m.role }}> {{ m.content }} {% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
# As Gemma's own template does: a system role is refused, and roles must take turns.
TEMPLATE_WITHOUT_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TEMPLATE
)


def tiny_tokenizer(folder: str | Path, *, chat_template: str | None = TEMPLATE, words: Iterable[str] = WORDS) -> int:
    """Write a word-level fast tokenizer with the given words after the special ones; return its number of tokens."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(dict.fromkeys([*SPECIAL, *words]))}
    inner = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<end>",
        additional_special_tokens=["<system>", "<user>", "<assistant>"],
        clean_up_tokenization_spaces=False,
    )
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)
    return len(vocabulary)


def tiny_model(
    folder: str | Path,
    kind: str = "llama",
    chat_template: bool = True,
    words: Iterable[str] = WORDS,
    *,
    seed: int = 0,
    padding_rows: int = 0,
) -> Path:
    """Write a random two-layer model of `kind` (llama, qwen3, gemma3, gpt2) with its tokenizer; return the folder.

    padding_rows: rows of the embedding beyond the tokenizer, as many published models have them. Gemma's chat template
    refuses a system role, as the real one did.
    """
    import torch

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    template = TEMPLATE_WITHOUT_SYSTEM if kind == "gemma3" else TEMPLATE
    size = tiny_tokenizer(folder, chat_template=template if chat_template else None, words=words)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _random(kind, size + padding_rows)
        model.save_pretrained(folder)
    return folder


def _random(kind: str, rows: int):
    import transformers as tf

    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    common = {"vocab_size": rows, "initializer_range": 0.3, **ids}
    wide = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 256,
        **common,
    }
    if kind == "llama":
        return tf.LlamaForCausalLM(tf.LlamaConfig(tie_word_embeddings=False, **wide))
    if kind == "qwen3":
        return tf.Qwen3ForCausalLM(tf.Qwen3Config(tie_word_embeddings=True, **wide))
    if kind == "gemma3":
        # A window shorter than the tests' prompts, so that the sliding layer really slides.
        types = ["sliding_attention", "full_attention"]
        return tf.Gemma3ForCausalLM(
            tf.Gemma3TextConfig(sliding_window=8, layer_types=types, query_pre_attn_scalar=8, **wide)
        )
    if kind == "gpt2":
        return tf.GPT2LMHeadModel(tf.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256, **common))
    raise ValueError(f"no tiny model of kind {kind!r}")


def tiny_adapter(base: str | Path, folder: str | Path, *, seed: int = 1, relative: bool = False) -> Path:
    """Write a random, nonzero LoRA (rank 4, every linear layer) of the model in `base`, in PEFT format.

    relative: name the base in adapter_config.json by its path relative to the adapter's own folder.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = Path(folder)
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        gpt2 = model.config.model_type == "gpt2"
        lora = LoraConfig(
            r=4,
            lora_alpha=8,
            target_modules="all-linear",
            init_lora_weights=False,
            fan_in_fan_out=gpt2,
            task_type="CAUSAL_LM",
        )
        tuned = get_peft_model(model, lora)
    name = os.path.relpath(base, folder) if relative else str(Path(base).resolve())
    config = tuned.peft_config["default"]
    config.base_model_name_or_path = name
    config.target_modules = sorted(config.target_modules)  # a set's order, and so the identity, would differ each time
    tuned.save_pretrained(folder)
    return folder
