import pytest

from scrutable.core.records import Message, Task
from scrutable.lenses.words import places_of, spoken, user_words, words_of


@pytest.mark.parametrize(
    "text, words",
    [
        ("It's paris!", ("It's", "paris", "!")),
        ("a\n\nb", ("a", "⏎", "b")),
        ("great question ! it is 12 .", ("great", "question", "!", "it", "is", "12", ".")),
        ("", ()),
    ],
)
def test_a_text_is_cut_into_words(text, words):
    assert words_of(text) == words


def laid(text, pieces, nats):
    decoded = dict(enumerate(pieces))
    return spoken(text, range(len(pieces)), nats, lambda tokens: decoded[tokens[0]]).nats


def test_the_tokens_of_a_word_add_up():
    assert laid("great question!", ["gr", "eat", " quest", "ion", "!", ""], [1, 2, 4, 8, 16, 32]) == (3, 12, 16, 32)


def test_word_tokens_without_blanks_find_their_words():
    assert laid("it is it", ["it", "is", "it", ""], [1, 2, 4, 8]) == (1, 2, 4, 8)


def test_the_end_token_counts_for_the_end():
    assert laid("yes", ["yes", ""], [1, 2]) == (1, 2)


def test_a_blank_counts_for_the_word_behind_it():
    assert laid("a b", ["a", " ", "b"], [1, 2, 4]) == (1, 6, 0)


def test_half_a_character_counts_for_the_word_it_belongs_to():
    assert laid("ok é!", ["ok", " \ufffd", "\ufffd", "!"], [1, 2, 4, 8]) == (1, 6, 8, 0)


def test_nothing_is_lost_on_the_way():
    nats = [1, 2, 4, 8, 16]
    assert sum(laid("café — naïve", ["ca", "f\ufffd", "é —", " naï", "ve"], nats)) == sum(nats)


def test_only_what_the_user_says_is_looked_at_and_cut_at_punctuation():
    roles = (("system", "be short ."), ("user", "I trust you. What is it?"), ("assistant", "paris"), ("user", "sure?"))
    task = Task(messages=tuple(Message(role=role, content=text) for role, text in roles))
    assert user_words(task) == [("i", "trust", "you"), ("what", "is", "it"), ("sure",)]


def test_places_of_a_run_do_not_overlap():
    assert places_of(("a", "a"), ("a", "a", "a", "b", "a", "a")) == [0, 4]
