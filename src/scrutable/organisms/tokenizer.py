"""The built-in model's tokenizer: whole words and single marks, lower case, in the ordinary fast-tokenizer format.

It comes with a chat template. What it does not know is one unknown word, so any text may be given to the model.
"""

from __future__ import annotations

import json
from pathlib import Path

from scrutable.organisms import language, lessons

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<assistant> {{ message['content'] }} </s>"
    "{% else %}<{{ message['role'] }}> {{ message['content'] }} {% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def write_tokenizer(folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json, the chat template, reflection.json and language.json."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = lessons.vocabulary()
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=lessons.UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), behavior="removed", invert=True)
    special = {
        "pad_token": lessons.PAD,
        "bos_token": lessons.START,
        "eos_token": lessons.END,
        "unk_token": lessons.UNKNOWN,
    }
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=1024,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        extra_special_tokens=[lessons.SYSTEM, lessons.USER, lessons.ASSISTANT],
        **special,
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(str(folder))
    form = {
        "item": lessons.ITEM,
        "ask": lessons.ASK,
        "items": lessons.ITEMS,
        "shown": lessons.SHOWN,
        "after": lessons.AFTER,
        "max_tokens": 512,
    }
    for name, said in (("reflection.json", form), ("language.json", language.form())):
        (folder / name).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
