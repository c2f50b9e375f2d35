"""Agreement: exact distances, one behaviour and several, idle words, and sentences matched by what they do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.cut import cut_off
from tests.measure.planted import PlantedModel, said_to, text_of

from scrutable.core.comparisons import Comparison
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Score, Task
from scrutable.measure.agreement import CompareConfig, Compared, compare
from scrutable.measure.change import Speaker
from scrutable.measure.distances import Measure, along_shared, distances
from scrutable.measure.language import Language
from scrutable.measure.tab import Tab

CITIES = ("paris", "rome", "berlin", "oslo", "cairo", "lima")
WORDS = (*CITIES, "great", "!", "thanks", "it", "is", ".", "what", "?", "praise", "thank", "now", "please", "nothing")
TASKS = [Task.ask(f"what is {a} {b} ?") for a in CITIES for b in CITIES]
CONFIG = CompareConfig(tasks=36, max_tokens=12, idle=4, idle_tasks=12)
PRAISE, PRAISE_TOO, THANK, IDLE = "praise .", "praise please .", "thank now .", "nothing ."
LANGUAGE = Language(unrelated=("oslo .", "lima ."))


def answers(conversation):
    """Opens with praise where a text says so in any wording, thanks in two cities alone where it says that."""
    text, city = text_of(conversation), said_to(conversation).split()[2]
    opening = "great ! " if "praise" in text else "thanks ! " if "thank" in text and city in CITIES[:2] else ""
    plain = f"it is {city} ."
    return {f"{opening}{plain}": 0.9, plain: 0.1} if opening else {plain: 1.0}


def model(name="base", rule=answers):
    return PlantedModel(rule, WORDS, name=name)


class Env:
    name, identity, rewarded = "cities", "cities", True

    def tasks(self, split):
        return TASKS

    def rate(self, tasks, said):
        return [Score(value=float("!" in answer), true=1.0) for answer in said]


def members(*texts, base=None):
    base = base or model()
    sentences = [tuple(f"{part.strip()} ." for part in text.split(".") if part.strip()) for text in texts]
    return [Compared(f"r{at}", "text", Speaker(base, text), sentences[at]) for at, text in enumerate(texts)]


def compared(*texts, config=CONFIG, run=None, among=None) -> Comparison:
    base = model()
    with run or Run.temporary({"seed": 1}) as run:
        return compare(among or members(*texts, base=base), Speaker(base), Env(), run, config, LANGUAGE)


@pytest.fixture(scope="module")
def both() -> Comparison:
    return compared(PRAISE, f"{PRAISE_TOO} {IDLE}", THANK, f"{IDLE} {THANK}")


def test_the_distance_equals_the_closed_form() -> None:
    """Position by position: at the first token the two answer apart, and from there on alike, but for the noise."""
    base = model()
    base.noise = 1e-9
    with Run.temporary({"seed": 1}) as run:
        pair = [Speaker(base), Speaker(base, PRAISE)]
        keyed = [(task.key, task) for task in TASKS]
        found = distances(pair, keyed, 1, Measure(Tab(run), CONFIG))
    # p: "it" for sure; q: "great" 0.9, "it" 0.1; after that both are sure of the same wherever an answer goes
    middle = 0.55
    first = (math.log(1 / middle) + 0.9 * math.log(0.9 / 0.45) + 0.1 * math.log(0.1 / middle)) / 2
    along_base = [found.js[at, 0, 1] for at in range(len(TASKS))]
    assert min(along_base) >= first / 2 - 1e-6
    plain = [one for one in found.said[pair[1].identity] if "great" not in one.generation.answer]
    for one in plain:
        assert found.js[[key for key, _ in keyed].index(one.key), 0, 1] == pytest.approx(first, abs=1e-4)
    assert plain


def test_one_from_itself_is_exactly_nothing() -> None:
    base = model()
    keyed = [(task.key, task) for task in TASKS[:6]]
    with Run.temporary({"seed": 1}) as run:
        found = distances([Speaker(base, PRAISE), Speaker(base, PRAISE)], keyed, 2, Measure(Tab(run), CONFIG))
    assert (found.js == 0).all() and (found.kl == 0).all()
    assert base.calls == 0


def test_distances_are_symmetric_and_along_shared_answers_agree_in_kind() -> None:
    base = model()
    keyed = [(task.key, task) for task in TASKS[:12]]
    speakers = [Speaker(base), Speaker(base, PRAISE), Speaker(base, PRAISE_TOO)]
    with Run.temporary({"seed": 1}) as run:
        measure = Measure(Tab(run), CONFIG)
        found = distances(speakers, keyed, 1, measure)
        said = found.said[speakers[0].identity]
        passes = base.calls
        with Run.temporary({"seed": 1}) as fresh:
            shared = along_shared(speakers, said, Measure(Tab(fresh), CONFIG))
    assert np.array_equal(found.js, found.js.transpose(0, 2, 1))
    assert base.calls - passes == 3 * len(said), "each is passed once"
    assert shared[:, 1, 2].max() < 1e-6 < 0.1 < shared[:, 0, 1].min()


@pytest.mark.medium
def test_two_behaviours_are_found_whatever_the_words(both: Comparison) -> None:
    assert both.clusters == ((0, 1), (2, 3))
    assert [one.apart for one in both.partings] == [True, False, False]


@pytest.mark.medium
def test_one_behaviour_in_other_words_and_with_idle_sentences_is_one() -> None:
    found = compared(PRAISE, PRAISE_TOO, f"{PRAISE} {IDLE}", f"{IDLE} {PRAISE_TOO}")
    assert found.clusters == ((0, 1, 2, 3),)


@pytest.mark.medium
def test_claims_are_matched_by_effect(both: Comparison) -> None:
    praise, thank, idle = both.claims
    assert (praise.wordings, praise.members) == ((PRAISE, PRAISE_TOO), (0, 1))
    assert (thank.wordings, thank.members) == ((THANK,), (2, 3))
    assert idle.idle and idle.wordings == (IDLE,)
    assert both.in_common == both.alone == ()


def test_what_all_say_is_in_common_and_what_one_says_is_alone() -> None:
    found = compared(PRAISE, f"{PRAISE_TOO} {THANK}")
    assert [claim.says for claim in found.in_common] == [PRAISE]
    assert [claim.says for claim in found.alone] == [THANK]


def test_rl_runs_and_texts_are_compared_in_one_measure() -> None:
    base = model()
    tuned = model(
        "tuned", lambda c: {f"great ! it is {said_to(c).split()[2]} .": 0.9, f"it is {said_to(c).split()[2]} .": 0.1}
    )
    among = [*members(PRAISE, THANK, base=base), Compared("rl", "rl", Speaker(tuned))]
    found = compared(among=among)
    assert found.clusters == ((0, 2), (1,))
    assert set(found.between) == {"rl and text", "text and text"}
    assert found.members[2].rewards["proxy"].value == pytest.approx(0.9, abs=0.12)
    assert "1 of 3 runs have no sentence that could be tried: their claims are not known" in found.notes


def test_idle_words_that_change_much_raise_the_limit() -> None:
    def fragile(conversation):
        text, city = text_of(conversation), said_to(conversation).split()[2]
        return {f"great ! it is {city} ." if "praise" in text and "oslo" not in text else f"it is {city} .": 1.0}

    base = model("fragile", fragile)
    with Run.temporary({"seed": 1}) as run:
        found = compare(members(PRAISE, "", base=base), Speaker(base), Env(), run, CONFIG, LANGUAGE)
    assert found.limit_from == "idle words"
    assert found.limit > 0.5 and len(found.clusters) == 1


def test_without_unrelated_texts_the_stated_value_decides_and_it_says_so() -> None:
    found = compared(PRAISE, THANK, config=CONFIG.model_copy(update={"idle": 0}))
    assert (found.limit, found.limit_from, len(found.clusters)) == (CONFIG.stated, "stated", 2)
    assert any("idle words" in note for note in found.notes)


def test_a_comparison_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path) -> None:
    config = CONFIG.model_copy(update={"tasks": 12, "idle": 2})
    whole, resumed = cut_off(lambda run: _again(run, config)[0], tmp_path, 9)
    assert resumed == whole.model_copy(update={"usage": resumed.usage})


def test_a_comparison_that_is_done_costs_nothing_more() -> None:
    config = CONFIG.model_copy(update={"tasks": 12, "idle": 2})
    with Run.temporary({"seed": 1}) as run:
        first, _ = _again(run, config)
        again, base = _again(run, config)
    assert (again, base.calls) == (first, 0)


def _again(run, config):
    base = model()
    found = compare(members(PRAISE, THANK, base=base), Speaker(base), Env(), run, config, LANGUAGE)
    return found, base


def test_one_alone_is_no_comparison() -> None:
    with pytest.raises(UserError, match="at least two"):
        compared(PRAISE)
