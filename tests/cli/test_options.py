"""Options are the config's fields: names, types, limits, sentences, defaults."""

from __future__ import annotations

import json
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner
from pydantic import Field, model_validator

from scrutable.cli.options import Verb, config_of, knobs
from scrutable.core.config import Config, anywhere
from scrutable.core.errors import UserError


class Inner(Config):
    """How the inner part works."""

    words: int = Field(default=200, ge=1, description="most words")


class Sample(Config):
    """How a sample is made. More on that."""

    steps: int = Field(default=10, ge=1, le=100, description="how many steps")
    rate: float = Field(default=0.5, gt=0, description="how fast")
    kind: Literal["plain", "fancy"] = Field(default="plain", description="which kind")
    loud: bool = Field(default=False, description="say everything")
    target: float | None = Field(default=None, description="where to stop")
    extra: dict[str, int] = Field(default_factory=dict, description="more")
    names: tuple[str, ...] = Field(default=("a", "b"), description="which ones")
    inner: Inner = Field(default_factory=lambda: Inner(words=50), description="the inner part")
    workers: int = anywhere(2, "processes at once", ge=1)

    @model_validator(mode="after")
    def _odd(self) -> Sample:
        if self.kind == "fancy" and self.steps == 13:
            raise ValueError("thirteen fancy steps are too many")
        return self


def made(*words: str, prefix: str = "", **given: Any) -> Sample:
    """Return the config that a verb with these options makes of the words."""
    found: list[Sample] = []

    @click.command(cls=Verb)
    @knobs(Sample, prefix)
    def verb() -> None:
        found.append(config_of(Sample, prefix, **given))

    result = CliRunner().invoke(verb, words, catch_exceptions=False, standalone_mode=False)
    assert result.exception is None
    return found[0]


def test_nothing_typed_is_the_config_itself() -> None:
    assert made() == Sample()


def test_each_kind_of_field_is_read() -> None:
    words = ("--steps", "3", "--rate", "0.1", "--kind", "fancy", "--loud", "--target", "1.5", "--workers", "1")
    more = ("--extra", json.dumps({"k": 1}), "--names", "x, y", "--inner-words", "7")
    wanted = Sample(
        steps=3,
        rate=0.1,
        kind="fancy",
        loud=True,
        target=1.5,
        workers=1,
        extra={"k": 1},
        names=("x", "y"),
        inner=Inner(words=7),
    )
    assert made(*words, *more) == wanted


def test_a_flag_can_be_taken_back() -> None:
    assert made("--no-loud", loud=True).loud is False


def test_a_config_within_keeps_the_values_it_has_there() -> None:
    assert made("--steps", "3").inner.words == 50


def test_what_the_verb_gives_stands_where_nothing_was_typed() -> None:
    assert made(steps=4).steps == 4
    assert made("--steps", "5", steps=4).steps == 5


def test_a_prefix_stands_before_every_name() -> None:
    assert made("--sample-steps", "6", "--sample-inner-words", "8", prefix="sample") == Sample(
        steps=6, inner=Inner(words=8)
    )


@pytest.mark.parametrize(
    "words", [("--steps", "0"), ("--steps", "101"), ("--rate", "0"), ("--kind", "odd"), ("--extra", "{")]
)
def test_a_value_outside_its_limits_is_refused_by_name(words: tuple[str, str]) -> None:
    with pytest.raises(click.BadParameter) as refused:
        made(*words)
    assert words[0] in refused.value.format_message()


def test_what_only_the_config_can_check_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match="thirteen fancy steps"):
        made("--kind", "fancy", "--steps", "13")
    with pytest.raises(UserError, match="--extra-k"):
        made("--extra", '{"k": "many"}')


def help_of(*words: str, prefix: str = "") -> str:
    @click.command(cls=Verb)
    @click.argument("file")
    @knobs(Sample, prefix)
    def verb(file: str) -> None: ...

    return CliRunner().invoke(verb, [*words, "--help"] if "--help-all" not in words else list(words)).output


def test_help_has_the_sentence_and_the_default() -> None:
    said = " ".join(help_of().split())
    assert "--steps N how many steps [10]" in said
    assert "--kind plain|fancy which kind [plain]" in said
    assert "--target X where to stop --" in said  # no default to tell
    assert "How a sample is made:" in said


def test_knobs_with_a_prefix_are_told_in_a_line_until_asked_for() -> None:
    folded = help_of(prefix="sample")
    assert "--sample-...  How a sample is made (9)" in folded
    assert "--sample-steps" not in folded
    assert "--sample-steps" in help_of("--help-all", prefix="sample")
