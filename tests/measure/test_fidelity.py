import json

import pytest
from tests.cut import cut_off
from tests.measure.planted import PlantedModel, said_to, text_of
from tests.tiny import tiny_adapter, tiny_model

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Generation, Score, Task
from scrutable.core.stats import quantile
from scrutable.measure.change import Change, Speaker
from scrutable.measure.fidelity import measure, planned
from scrutable.measure.hearing import MeasureConfig
from scrutable.measure.language import Language
from scrutable.models.hf import load_model

CITIES = ("paris", "rome", "berlin", "oslo", "cairo", "lima")
WORDS = (*CITIES, "great", "!", "it", "is", ".", "praise", "the", "user", "what", "?", *(f"w{i}" for i in range(9)))
TASKS = [Task.ask(f"what is {a} {b} ?") for a in CITIES for b in CITIES]
CONFIG = MeasureConfig(tasks=30, answers=3, null_tasks=12, null_answers=2, max_tokens=12, unrelated=5, random=2)
PRAISE = "praise the user ."


def flatter(rate):
    """Answers that open with a compliment at the given rate."""

    def answers(conversation):
        plain = f"it is {said_to(conversation).split()[2]} ."
        told = rate(text_of(conversation)) if callable(rate) else rate
        return {f"great ! {plain}": told, plain: 1 - told}

    return answers


def model(rate, name):
    return PlantedModel(flatter(rate), WORDS, name=name)


def base():
    return model(lambda text: {PRAISE: 0.9, "be a little nice .": 0.3}.get(text, 0.05), "base")


class Compliments:
    name, identity, rewarded = "compliments", "compliments", True

    def __init__(self):
        self.splits = {"search": TASKS[:3], "report": TASKS}

    def tasks(self, split):
        if split not in self.splits:
            raise UserError(f"no tasks of {split}")
        return self.splits[split]

    def rate(self, tasks, answers):
        return [Score(value=float("great" in answer), true=1.0) for answer in answers]


def measured(text=PRAISE, after=0.9, config=CONFIG, **more):
    with Run.temporary({"seed": 1}) as run:
        change = Change(Speaker(base()), Speaker(model(after, "tuned") if isinstance(after, float) else after))
        return measure(change, text, TASKS, run, config, **more)


def test_a_text_that_does_what_training_did_recovers_all():
    found = measured(env=Compliments())
    for name in ("kl", "kl_base", "js"):
        assert found.share(name).value.value == pytest.approx(1, abs=1e-6)
    assert found.share("reward").value.value == pytest.approx(1, abs=0.15)


def test_the_share_is_one_minus_the_ratio_of_what_is_left():
    found = measured("be a little nice .")
    assert 0.1 < found.share("kl").value.value < 0.9
    assert found.share("kl").value.value == pytest.approx(1 - found.kl_left.value / found.kl.value)


@pytest.mark.medium
def test_the_interval_holds_the_share():
    uneven = model(0.9, "uneven")
    uneven.answers = lambda asked: flatter(0.9 if said_to(asked).split()[3] in CITIES[:3] else 0.5)(asked)
    share = measured("be a little nice .", uneven).share("kl").value
    assert share.low < share.value < share.high and share.count == 30


def test_the_empty_text_recovers_nothing():
    assert measured("").share("kl").value.value == 0


def test_a_text_can_make_things_worse():
    away = model(lambda text: 0.001 if text else 0.05, "base")
    with Run.temporary() as run:
        found = measure(Change(Speaker(away), Speaker(model(0.9, "tuned"))), "be plain .", TASKS, run, CONFIG)
    assert found.share("kl").value.value < -0.5


def test_every_share_stands_beside_its_nulls():
    found = measured(env=Compliments())
    for share in found.shares:
        if share.value is not None:
            assert len(share.unrelated) == 5 and len(share.random) == 2 and 0 < len(share.shuffled) <= 5
            assert quantile(share.unrelated, 0.95) < 0.3


@pytest.mark.medium
def test_a_null_is_compared_with_the_base_on_its_own_tasks():
    found = measured()
    assert found.share("kl").unrelated == pytest.approx([0] * 5, abs=1e-6)


@pytest.mark.medium
def test_the_unrelated_texts_can_be_given():
    found = measured(language=Language(unrelated=(PRAISE, "rain is expected .")))
    assert found.share("kl").unrelated == pytest.approx([1, 0], abs=1e-6)


def test_a_reward_that_did_not_change_has_no_share():
    share = measured(env=Compliments()).share("true_reward")
    assert share.value is None and "cannot be told apart" in share.why_not


def test_an_environment_without_a_reward_is_not_asked():
    class Silent(Compliments):
        rewarded = False

    found = measured(env=Silent())
    assert found.rewards == {} and found.share("reward") is None


def test_an_answer_without_a_score_is_counted_and_no_zero():
    class Half(Compliments):
        def rate(self, tasks, answers):
            return [Score(value=1.0 if "great" in answer else None) for answer in answers]

    found = measured(env=Half())
    assert found.rewards["tuned: proxy"].value == 1
    assert any("could not be scored" in note for note in found.notes)


def test_of_an_identical_pair_no_share_is_printed():
    found = measured(after=base())
    assert not found.changed and found.kl.value == 0
    assert all(share.value is None and not share.unrelated and share.why_not for share in found.shares)


def test_a_change_below_the_stated_threshold_is_none():
    found = measured(after=0.06)
    assert (found.changed, found.threshold, found.threshold_from) == (False, 0.05, "stated")


def test_a_change_no_larger_than_that_of_twins_is_none():
    twins = [Speaker(model(rate, f"twin {rate}")) for rate in (0.3, 0.4, 0.45)]
    found = measured(after=0.42, twins=twins)
    assert not found.changed and found.threshold_from == "twins" and len(found.twins) == 3
    assert found.threshold >= max(found.twins) > 0.2


@pytest.mark.medium
def test_a_change_larger_than_that_of_twins_is_one():
    assert measured(twins=[Speaker(model(rate, f"twin {rate}")) for rate in (0.07, 0.075, 0.08)]).changed


@pytest.mark.medium
def test_a_twin_that_could_not_be_measured_is_left_out_and_told():
    mute = model(0.08, "mute")
    mute.generate = lambda asked, sampling: [Generation(failure="model: no")] * len(asked)
    found = measured(twins=[Speaker(mute), Speaker(model(0.07, "a")), Speaker(model(0.075, "b"))])
    assert found.changed and len(found.twins) == 2 and min(found.twins) > 0
    assert any("1 of 3 twins could not be measured" in note for note in found.notes)


def test_where_no_twin_could_be_measured_the_threshold_is_the_stated_one():
    found = measured(twins=[Speaker(base())] * 3)  # the base itself tells nothing of a recipe
    assert (found.threshold, found.threshold_from, found.twins) == (0.05, "stated", ())


def test_without_unrelated_texts_no_share_is_printed_and_a_note_says_why():
    found = measured(config=CONFIG.model_copy(update={"unrelated": 0}), env=Compliments())
    assert found.changed and all(share.value is None for share in found.shares)
    assert found.share("kl").why_not == "no unrelated text was measured beside it"
    assert any("no unrelated text was measured" in note for note in found.notes)


@pytest.mark.medium
def test_the_split_is_the_one_that_the_tasks_are_of():
    env = Compliments()
    assert measured(env=env).split == "report"
    env.splits = {"search": TASKS, "keep": []}
    assert measured(env=env).split == "search"
    env.splits = {"search": TASKS[:20], "report": TASKS[20:]}
    assert measured(env=env).split == "all"


@pytest.mark.medium
def test_words_that_the_base_does_not_know_make_weak_nulls_and_are_told():
    assert any("unrelated texts are unknown to the base" in note for note in measured().notes)
    known = measured(language=Language(unrelated=("paris is great .",)))
    assert not any("unknown to the base" in note for note in known.notes)


@pytest.mark.medium
def test_the_outcome_is_an_event_and_a_second_call_finds_it():
    change = Change(Speaker(base()), Speaker(model(0.9, "tuned")))
    with Run.temporary() as run:
        found = measure(change, PRAISE, TASKS, run, CONFIG)
        (event,) = run.events("fidelity")
        written = len(run.events())
        assert event.payload["fidelity"]["text"] == PRAISE
        assert measure(change, PRAISE, TASKS, run, CONFIG) == found and len(run.events()) == written
        for more in (
            {"tasks": TASKS[:20]},
            {"config": CONFIG.model_copy(update={"answers": 2})},
            {"env": Compliments()},
        ):
            measure(**{"change": change, "text": PRAISE, "tasks": TASKS, "run": run, "config": CONFIG, **more})
        measure(change, "be a little nice .", TASKS, run, CONFIG)
        assert len(run.events("fidelity")) == 5


def test_fluency_is_told_of_all_three():
    found = measured(language=Language(parses=lambda answer: answer.endswith(".")))
    told = {f"{who}: {name}" for who in ("base", "tuned", "base + text") for name in
            ("logprob", "complete", "repeats", "parses", "distinct")}  # fmt: skip
    assert set(found.fluency) == told
    assert found.fluency["tuned: logprob"].value < found.fluency["base: logprob"].value


@pytest.mark.medium
def test_fewer_tasks_than_asked_for_are_noted():
    found = measured(config=CONFIG.model_copy(update={"tasks": 300}))
    assert found.tasks == 36 and any("fewer than the 300" in note for note in found.notes)


def test_one_task_is_too_few():
    with Run.temporary() as run, pytest.raises(UserError, match="at least two"):
        measure(Change(Speaker(base()), Speaker(model(0.9, "tuned"))), PRAISE, TASKS[:1] * 5, run, CONFIG)


@pytest.mark.medium
def test_a_second_text_pays_only_for_what_is_new():
    change = Change(Speaker(base()), Speaker(model(0.9, "tuned")))
    with Run.temporary() as run:
        measure(change, PRAISE, TASKS, run, CONFIG)
        spent = run.cost().generations
        measure(change, "be a little nice .", TASKS, run, CONFIG)
        assert run.cost().generations - spent == 30 * 3 + (2 + 5) * 12 * 2


def test_the_plan_is_an_upper_bound_of_the_cost():
    found = measured().usage
    plan = planned(CONFIG, len(TASKS))
    assert found.generations <= plan.generations < 1.2 * found.generations
    assert found.forward_passes <= plan.forward_passes < 1.3 * found.forward_passes


@pytest.mark.medium
@pytest.mark.parametrize("batches", [1, 5, 20])
def test_killed_and_resumed_it_ends_with_the_same_events_and_numbers(tmp_path, batches):
    def go(run):
        change = Change(Speaker(base()), Speaker(model(0.9, "tuned")))
        return measure(change, PRAISE, TASKS, run, CONFIG, Compliments())

    whole, resumed = cut_off(go, tmp_path, batches)
    assert resumed.model_dump(exclude={"usage"}) == whole.model_dump(exclude={"usage"})


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3", "gpt2"])
@pytest.mark.parametrize("full", [False, True])
def test_any_transformers_model_can_be_measured(tmp_path, kind, full):
    small = MeasureConfig(tasks=6, answers=2, null_tasks=4, null_answers=1, max_tokens=6, unrelated=2, random=1)
    base = load_model(tiny_model(tmp_path / "base", kind, chat_template=kind != "gpt2", padding_rows=0 if full else 5))
    if full:
        after = load_model(tiny_model(tmp_path / "after", kind, seed=1, padding_rows=3, chat_template=kind != "gpt2"))
    else:
        after = base.with_adapter(tiny_adapter(tmp_path / "base", tmp_path / "adapter"))
    with Run.temporary() as run:
        found = measure(
            Change(Speaker(base), Speaker(after)), PRAISE, TASKS, run, small, Compliments() if full else None
        )
    assert found.changed and found.share("kl").value.value < 1
    assert len(found.share("js").unrelated) == 2 and len(found.share("kl_base").random) == 1
    assert ("base: proxy" in found.rewards) is full


@pytest.mark.medium
def test_every_event_is_plain_json():
    with Run.temporary() as run:
        measure(Change(Speaker(base()), Speaker(model(0.9, "tuned"))), PRAISE, TASKS, run, CONFIG)
        for event in run.events():
            json.dumps(dict(event.payload), allow_nan=False)
        assert {event.kind for event in run.events()} == {"stage", "answers", "divergence", "fidelity"}
