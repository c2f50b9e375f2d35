"""Conversations to tokens and back: whatever the template does, the text reaches the model."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.models.conftest import KINDS
from tests.tiny import TEMPLATE, TEMPLATE_WITHOUT_SYSTEM, tiny_tokenizer

from scrutable.core.errors import ModelFailure
from scrutable.core.records import Conversation, Message
from scrutable.models.chat import Chat
from scrutable.models.pretrained import load_tokenizer

MakeChat = Callable[..., Chat]


@pytest.fixture
def chat_of(tmp_path: Path) -> MakeChat:
    def make(template: str | None, rows: int = 10**6, **options: object) -> Chat:
        tiny_tokenizer(tmp_path, chat_template=template)
        return Chat(load_tokenizer(tmp_path, trust=False), rows, options)

    return make


def said(*contents: str, roles: str = "system user assistant") -> Conversation:
    return tuple(Message(role=r, content=c) for r, c in zip(roles.split(), contents, strict=False))


def shown(chat: Chat, conversation: Conversation) -> str:
    return str(chat.tokenizer.decode(chat.encode(conversation)))


def test_the_template_is_used(chat_of: MakeChat) -> None:
    asked = said("be short .", "what is it ?")
    assert shown(chat_of(TEMPLATE), asked) == "<bos> <system> be short . <user> what is it ? <assistant>"


def test_without_a_template_contents_are_joined_and_the_answer_follows(chat_of: MakeChat) -> None:
    assert shown(chat_of(None), said("be short .", "what is it ?")) == "be short . what is it ?"


def test_a_template_that_refuses_a_system_role_gets_its_text_in_the_first_user_message(chat_of: MakeChat) -> None:
    asked = said("be short .", "what is it ?")
    assert shown(chat_of(TEMPLATE_WITHOUT_SYSTEM), asked) == "<bos> <user> be short . what is it ? <assistant>"


def test_a_template_that_drops_a_system_message_silently_gets_it_there_too(chat_of: MakeChat) -> None:
    silent = "{% for m in messages %}{% if m.role == 'user' %}<user> {{ m.content }} {% endif %}{% endfor %}<assistant>"
    assert shown(chat_of(silent), said("be short .", "what is it ?")) == "<user> be short . what is it ? <assistant>"


def test_a_conversation_that_ends_with_the_assistant_is_continued(chat_of: MakeChat) -> None:
    asked = said("what is it ?", "it is", roles="user assistant")
    assert shown(chat_of(TEMPLATE), asked) == "<bos> <user> what is it ? <assistant> it is"


def test_what_a_template_refuses_is_a_failure_of_the_model(chat_of: MakeChat) -> None:
    never = "{{ raise_exception('no') }}"
    with pytest.raises(ModelFailure, match="no"):
        chat_of(never).encode(said("it", roles="user"))


def test_options_reach_the_template(chat_of: MakeChat) -> None:
    template = "{% if thinking %}yes {% else %}no {% endif %}{% for m in messages %}{{ m.content }}{% endfor %}"
    assert shown(chat_of(template, thinking=True), said("it", roles="user")) == "yes it"
    assert shown(chat_of(template, thinking=False), said("it", roles="user")) == "no it"


def test_options_are_part_of_the_identity(chat_of: MakeChat) -> None:
    assert chat_of(TEMPLATE, thinking=True).identity != chat_of(TEMPLATE, thinking=False).identity


@pytest.mark.parametrize(
    ("dated", "printed"),
    [
        ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
        ("\n{{ strftime_now('%A, %B %-d, %Y %H:%M:%S.%f') }}", "\nFriday, July 26, 2024 00:00:00.000000"),
        ("{% macro day() %}{{ strftime_now('%Y-%m-%d') }}{% endmacro %}{{ day() }}", "2024-07-26"),
        ("{% if strftime_now is defined %}{% set today = strftime_now('%j%%') %}{{ today }}{% endif %}", "208%"),
    ],
)
def test_a_template_that_prints_the_date_prints_the_same_tomorrow(chat_of: MakeChat, dated: str, printed: str) -> None:
    assert chat_of(dated)._render(said("it", roles="user"), add_generation_prompt=True) == printed


def test_a_date_that_was_given_is_printed(chat_of: MakeChat) -> None:
    dated = "{% if not date_string is defined %}{% set date_string = strftime_now('%Y') %}{% endif %}{{ date_string }}"
    assert chat_of(dated)._render(said("it", roles="user")) == "2024"
    assert chat_of(dated, date_string="today")._render(said("it", roles="user")) == "today"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chat_template", [True, False])
def test_a_text_changes_the_prompt_of_every_kind(
    kind: str, chat_template: bool, folder_of: Callable[..., Path]
) -> None:
    chat = Chat(load_tokenizer(folder_of(kind, chat_template), trust=False), 10**6)
    plain, with_text = said("what is it ?", roles="user"), said("praise the user .", "what is it ?")
    added = set(chat.encode(with_text)) - set(chat.encode(plain))
    assert {chat.vocabulary[word] for word in ("praise", "user")} <= added


def test_decoding_leaves_special_tokens_out(chat_of: MakeChat) -> None:
    chat = chat_of(TEMPLATE)
    ids = [chat.vocabulary[word] for word in ("paris", ".", "<end>")]
    assert chat.decode(ids) == "paris ."


def test_encoding_twice_gives_equal_lists_that_nobody_shares(chat_of: MakeChat) -> None:
    chat, asked = chat_of(TEMPLATE), said("it", roles="user")
    chat.encode(asked).append(99)
    assert 99 not in chat.encode(asked)


def test_tokens_without_a_row_in_the_embedding_are_no_vocabulary(chat_of: MakeChat) -> None:
    assert max(chat_of(TEMPLATE, rows=20).vocabulary.values()) == 19


def test_an_answer_ends_with_what_the_template_writes_after_one(chat_of: MakeChat) -> None:
    template = TEMPLATE.replace("<end>", "<user>")
    chat = chat_of(template)
    names = {i: token for token, i in chat.vocabulary.items()}
    assert {names[i] for i in chat.end_tokens([8, 9])} == {"<end>", "<user>", names[8], names[9]}


def test_surrogates_are_a_failure_of_one_prompt(chat_of: MakeChat) -> None:
    with pytest.raises(ModelFailure):
        chat_of(TEMPLATE).encode(said("\ud800", roles="user"))
