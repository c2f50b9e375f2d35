"""A served model asked from 32 threads at once, one conversation a call, while the server misbehaves."""

import itertools
import json
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.models.server import Server, Step, completion, serving

from scrutable.core.errors import UserError
from scrutable.core.records import Generation, Message, Sampling
from scrutable.models import limiter
from scrutable.models.api import ServedModel, ServedOptions

THREADS = 32
QUICK = ServedOptions(workers=THREADS, backoff=0.002, timeout=20, attempts=6, patience=30)
REFUSED: Step = (429, {}, json.dumps({"error": {"message": "slow down"}}))
GARBAGE: tuple[Step, ...] = (
    (200, {}, "<html>hello</html>"),
    (200, {}, json.dumps(completion())[:50]),
    (200, {}, '{"choices": []}'),
    "cut off",
)


def model_at(server: Server, **options: float) -> ServedModel:
    return ServedModel("m", base_url=server.url, api_key="k", options=QUICK.model_copy(update=options))


def ask_all(model: ServedModel, amount: int) -> list[Generation]:
    """Ask "0", "1", ... from 32 threads, one conversation a call."""

    def one(number: int) -> Generation:
        (made,) = model.generate([(Message(role="user", content=str(number)),)], Sampling(seed=number))
        return made

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(amount)))


def check_all_answered(model: ServedModel, made: list[Generation], asked: list[str]) -> None:
    """Every one is answered, was asked once more for each failure and no more, and every request is accounted for."""
    assert [one.answer for one in made] == [f"to: {number}" for number in range(len(made))]
    assert Counter(asked) == {str(number): 1 + one.usage.retries for number, one in enumerate(made)}
    told = model.record
    assert (told.requests, told.answered, told.given_up) == (len(asked), len(made), 0)
    assert sum(told.troubles.values()) == sum(one.usage.retries for one in made) == len(asked) - len(made)


@pytest.mark.medium
def test_a_server_that_refuses_half_of_all() -> None:
    coin = random.Random(0)
    with serving(then=lambda here: REFUSED if coin.random() < 0.5 else "fine") as server:
        server.delay = 0.003
        model = model_at(server)
        made = ask_all(model, 200)
        check_all_answered(model, made, server.asked())
        assert server.most <= THREADS
    assert 140 < model.record.troubles["status 429"] < 280
    assert model.record.least == 1


@pytest.mark.medium
def test_a_server_with_little_room_is_asked_little_more_than_it_can_bear() -> None:
    """It has room for 6: after a while nearly all that is asked is answered, and it is kept at work."""
    with serving(then=lambda here: REFUSED if here > 6 else "fine") as server:
        server.delay = 0.01
        model = model_at(server)
        made = ask_all(model, 400)
        check_all_answered(model, made, server.asked())
    late = Counter(server.asked())
    refused_late = sum(late[str(number)] - 1 for number in range(200, 400))
    assert refused_late < 60
    assert 1 <= model.record.limit <= 12


@pytest.mark.medium
def test_retry_after_quietens_all_threads() -> None:
    pause = (429, {"Retry-After": "0.6"}, "{}")
    with serving(*["fine"] * 40, pause) as server:
        server.delay = 0.002
        model = model_at(server)
        made = ask_all(model, 200)
        check_all_answered(model, made, server.asked())
        times = [when for _, _, when in server.requests]
    quiet = max(b - a for a, b in itertools.pairwise(times))
    assert quiet >= 0.4
    assert model.record.paused == pytest.approx(0.6, abs=0.05)


@pytest.mark.medium
def test_a_server_that_dies_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the world it may be 20 s; here 1.5 s, and what is worth a line is shorter too."""
    monkeypatch.setattr(limiter, "_TOLD_AFTER", 0.3)
    lines: list[str] = []
    with serving() as first:
        first.delay = 0.01
        model = model_at(first, backoff=0.05)
        model.listen(lines.append)
        port = first.server_address[1]
        back: list[Server] = []

        def fate() -> None:
            while len(first.requests) < 150:
                time.sleep(0.005)
            first.die()
            time.sleep(1.5)
            with serving(port=port) as second:
                back.append(second)
                over.wait(60)

        over = threading.Event()
        killer = threading.Thread(target=fate)
        killer.start()
        try:
            made = ask_all(model, 400)
        finally:
            over.set()
            killer.join()
    assert [one.answer for one in made] == [f"to: {number}" for number in range(400)]
    told = model.record
    asked = first.asked() + back[0].asked()
    # Those cut off while it died were asked once more; nobody who was answered was asked again.
    assert max(Counter(asked).values()) == 2
    assert len(asked) - 400 <= THREADS
    # While it is away one at a time looks, besides those that were under way: not every thread over and over.
    looks = told.troubles["nothing listens there"]
    assert told.requests - looks >= len(asked)
    assert looks <= THREADS + 8
    assert told.troubles.get("cut off", 0) <= THREADS
    assert told.absences == 1
    assert 1.2 < told.away < 4
    assert len(lines) == 2
    assert lines[0].startswith(f"waiting for the server at {model.address}, up to 30 s: nothing listens there")
    assert lines[1].startswith(f"the server at {model.address} answers again after ")


@pytest.mark.medium
def test_a_server_that_sends_garbage_now_and_then() -> None:
    dice = random.Random(1)
    with serving(then=lambda here: dice.choice(GARBAGE) if dice.random() < 0.05 else "fine") as server:
        model = model_at(server)
        made = ask_all(model, 400)
        check_all_answered(model, made, server.asked())
    assert set(model.record.troubles) <= {"no JSON", "no chat completion", "cut off"}
    assert 8 <= sum(model.record.troubles.values()) <= 40


@pytest.mark.medium
def test_all_three_at_once() -> None:
    dice = random.Random(2)

    def then(here: int) -> Step:
        luck = dice.random()
        return REFUSED if luck < 0.5 else dice.choice(GARBAGE) if luck < 0.525 else "fine"

    with serving(then=then) as server:
        model = model_at(server)
        made = ask_all(model, 200)
        check_all_answered(model, made, server.asked())


@pytest.mark.medium
def test_a_request_that_is_never_answered_well_is_asked_as_often_as_told_and_fails_alike() -> None:
    with serving(then=lambda here: (200, {}, "{")) as server:
        model = model_at(server, attempts=3)
        made = ask_all(model, 40)
        assert set(Counter(server.asked()).values()) == {3}
    assert {one.failure for one in made} == {"model: the server's answer is no JSON (after 3 attempts)"}
    assert (model.record.given_up, model.record.troubles) == (40, {"no JSON": 120})


def test_what_the_user_must_mend_ends_all_calls() -> None:
    with serving(then=lambda here: (401, {}, "{}")) as server, pytest.raises(UserError, match="OPENAI_API_KEY"):
        ask_all(model_at(server), 100)


@pytest.mark.medium
def test_two_models_on_one_server_share_its_room() -> None:
    with serving() as server:
        server.delay = 0.01
        both = [model_at(server, workers=4), model_at(server, workers=4)]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda one: ask_all(one, 40), both))
        assert server.most <= 4
    assert both[0].record.requests == 80
