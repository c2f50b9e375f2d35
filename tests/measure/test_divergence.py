import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.cut import cut_off
from tests.measure.planted import PlantedModel

from scrutable.core.draws import rng
from scrutable.core.journal import Run
from scrutable.core.records import Generation, Task
from scrutable.measure import divergence
from scrutable.measure.answers import Said
from scrutable.measure.change import Speaker
from scrutable.measure.divergence import Meter, token_divergences
from scrutable.measure.tab import Tab

WORDS = ("a", "b")
LENGTH = 3
TASK = Task.ask("say something")


def random_model(seed, **more):
    """A model whose every next-token distribution is random."""
    model = PlantedModel(lambda _: {}, WORDS, name=f"random {seed}", **more)
    model.next = lambda _, prefix: list(rng(seed, " ".join(prefix)).dirichlet(np.full(len(model.vocabulary), 0.7)))
    return model


def every_answer(model):
    """All answers of at most LENGTH tokens, as the sampler could end them, with their log-probabilities."""
    end = model.vocabulary["<end>"]
    others = [i for i in range(len(model.vocabulary)) if i != end]
    done = [(*head, end) for size in range(LENGTH) for head in itertools.product(others, repeat=size)]
    return done + list(itertools.product(others, repeat=LENGTH))


def said(speaker, tokens, repeat=0, task=TASK):
    return Said(speaker, task, task.key, repeat, Generation(answer="", tokens=tuple(tokens)))


def log_probability(model, answer):
    words = [model.words[t] for t in answer]
    return sum(math.log(model.next((), words[:i])[t]) for i, t in enumerate(answer))


@pytest.fixture
def run():
    with Run.temporary({"seed": 3}) as made:
        yield made


def test_the_expected_sum_over_positions_is_the_divergence_of_whole_answers(run):
    p, q = random_model(1), random_model(2)
    answers = every_answer(p)
    found = Meter(Tab(run)).along([said(Speaker(p), a, i) for i, a in enumerate(answers)], Speaker(p), Speaker(q))
    logp = np.array([log_probability(p, a) for a in answers])
    logq = np.array([log_probability(q, a) for a in answers])
    assert np.exp(logp).sum() == pytest.approx(1)
    expected = sum(math.exp(one) * parting.kl for one, parting in zip(logp, found, strict=True))
    assert expected == pytest.approx((np.exp(logp) * (logp - logq)).sum(), abs=1e-5)


def test_the_log_probability_of_an_answer_is_the_product_of_its_tokens(run):
    p, q = random_model(1), random_model(2)
    answer = every_answer(p)[10]
    (found,) = Meter(Tab(run)).along([said(Speaker(p), answer)], Speaker(p), Speaker(q))
    assert found.logp == pytest.approx(log_probability(p, answer), abs=1e-5)
    assert found.logq == pytest.approx(log_probability(q, answer), abs=1e-5)


def test_the_tokens_add_up_to_the_answer(run):
    p, q = Speaker(random_model(1)), Speaker(random_model(2))
    (found,) = Meter(Tab(run)).along([said(p, every_answer(p.model)[12])], p, q, per_token=True)
    assert len(found.token_kl) == found.tokens
    assert sum(found.token_kl) == pytest.approx(found.kl, abs=1e-4)
    assert len(found.token_ratio) == found.tokens
    assert sum(found.token_ratio) == pytest.approx(found.logp - found.logq, abs=1e-4)


def rows(draw_from):
    return draw_from.map(lambda x: torch.log_softmax(torch.tensor(x), dim=-1))


LOGITS = rows(arrays.arrays(np.float32, (3, 7), elements=st.floats(-30, 30, width=32)))


@given(LOGITS, LOGITS)
@settings(deadline=None)
def test_every_position_agrees_with_a_plain_sum_in_double_precision(p, q):
    kl, back, js = token_divergences(p, q)
    x, y = p.double().numpy(), q.double().numpy()
    m = np.log((np.exp(x) + np.exp(y)) / 2)
    assert np.allclose(kl, (np.exp(x) * (x - y)).sum(1), atol=2e-5)
    assert np.allclose(back, (np.exp(y) * (y - x)).sum(1), atol=2e-5)
    assert np.allclose(js, ((np.exp(x) * (x - m)).sum(1) + (np.exp(y) * (y - m)).sum(1)) / 2, atol=2e-5)


@given(LOGITS, LOGITS)
@settings(deadline=None)
def test_divergences_are_never_negative_and_jensen_shannon_at_most_ln_2(p, q):
    kl, back, js = token_divergences(p, q)
    assert min(kl.min(), back.min(), js.min()) >= 0
    assert js.max() <= math.log(2) + 1e-6


@given(LOGITS)
@settings(deadline=None)
def test_equal_distributions_diverge_by_exactly_nothing(p):
    kl, back, js = token_divergences(p, p)
    assert kl.abs().sum() == back.abs().sum() == 0
    assert js.abs().max() < 1e-6


def test_a_token_that_is_ruled_out_in_both_adds_nothing():
    p = torch.log_softmax(torch.tensor([[1.0, 2.0, -math.inf]]), dim=-1)
    q = torch.log_softmax(torch.tensor([[2.0, 1.0, -math.inf]]), dim=-1)
    kl, _, js = token_divergences(p, q)
    short, _, short_js = token_divergences(p[:, :2], q[:, :2])
    assert torch.allclose(kl, short) and torch.allclose(js, short_js)


def test_blocks_do_not_change_the_numbers(monkeypatch):
    p, q = (torch.log_softmax(torch.randn(9, 11, generator=torch.Generator().manual_seed(i)), -1) for i in (0, 1))
    whole = token_divergences(p, q)
    monkeypatch.setattr(divergence, "_CELLS", 22)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(whole, token_divergences(p, q), strict=True))


def test_permuted_ids_are_no_difference(run):
    plain, turned = random_model(1), random_model(1, order=-1)
    turned.identity = "turned"
    other = turned.next
    turned.next = lambda c, prefix: [plain.next(c, prefix)[plain.vocabulary[turned.words[i]]] for i in range(4)]
    assert other is not turned.next and turned.vocabulary != plain.vocabulary
    found = Meter(Tab(run)).along([said(Speaker(plain), every_answer(plain)[9])], Speaker(plain), Speaker(turned))
    assert (found[0].kl, found[0].js) == (0, 0)


def test_an_added_token_is_left_out_of_the_distribution(run):
    plain = PlantedModel(lambda _: {"w1": 0.5, "w2": 0.5}, [f"w{i}" for i in range(40)], name="plain")
    more = PlantedModel(lambda _: {"w1": 0.25, "w2": 0.25, "new": 0.5}, [*plain.vocabulary, "new"], name="more")
    answer = [*plain.encode_answer("w1"), plain.vocabulary["<end>"]]
    (found,) = Meter(Tab(run)).along([said(Speaker(plain), answer)], Speaker(plain), Speaker(more))
    assert found.kl < 1e-3


def test_an_answer_with_a_token_of_only_one_is_left_out(run):
    plain = PlantedModel(lambda _: {"w1": 1.0}, [f"w{i}" for i in range(40)], name="plain")
    more = PlantedModel(lambda _: {"new": 1.0}, [*plain.vocabulary, "new"], name="more")
    answers = [said(Speaker(more), more.encode_answer(word)) for word in ("new", "w1")]
    found = Meter(Tab(run)).along(answers, Speaker(more), Speaker(plain))
    assert len(found) == 1


def test_an_answer_that_failed_is_left_out(run):
    p = Speaker(random_model(1))
    failed = Said(p, TASK, TASK.key, 0, Generation(failure="model: gone"))
    assert Meter(Tab(run)).along([failed], p, p) == []


def test_little_memory_changes_no_number(run):
    p, q = Speaker(random_model(1)), Speaker(random_model(2))
    answers = [said(p, a, i) for i, a in enumerate(every_answer(p.model))]
    with Run.temporary() as other:
        assert Meter(Tab(run), batch=16).along(answers, p, q) == Meter(Tab(other), batch=16, memory=1).along(
            answers, p, q
        )


def test_kept_distributions_are_not_asked_for_again(run):
    p, q, other = (Speaker(random_model(seed)) for seed in (1, 2, 3))
    answers = [said(p, a, i) for i, a in enumerate(every_answer(p.model))]
    meter = Meter(Tab(run), batch=8, keep=p.identity)
    meter.along(answers, p, q)
    meter.along(answers, p, other)
    assert p.model.calls == len(answers)


def test_what_was_measured_is_never_measured_again(run):
    p, q = Speaker(random_model(1)), Speaker(random_model(2))
    answers = [said(p, a, i) for i, a in enumerate(every_answer(p.model))]
    first = Meter(Tab(run), batch=8).along(answers, p, q)
    calls = q.model.calls
    assert Meter(Tab(run), batch=8).along(answers, p, q) == first
    assert q.model.calls == calls


def test_a_killed_measurement_goes_on_to_the_same_events(tmp_path):
    p, q = Speaker(random_model(1)), Speaker(random_model(2))
    answers = [said(p, a, i) for i, a in enumerate(every_answer(p.model))]
    whole, resumed = cut_off(lambda run: Meter(Tab(run), batch=4).along(answers, p, q), tmp_path, 2)
    assert resumed == whole
