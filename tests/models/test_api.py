"""Served models, against a server in a thread that misbehaves in each way a server can."""

import itertools
import json
import logging
import socket
import time
from email.utils import formatdate

import pytest
from tests.models.server import Server, completion, serving

from scrutable.core.errors import UserError
from scrutable.core.records import Conversation, Generation, Message, Sampling
from scrutable.models.api import ServedModel, ServedOptions
from scrutable.models.base import Model, OpenModel

KEY = "sk-very-secret-123"
QUICK = ServedOptions(backoff=0.001, timeout=20, attempts=4)


def ask(content: str) -> Conversation:
    return (Message(role="user", content=content),)


def model_at(server: Server, options: ServedOptions = QUICK, name: str = "m") -> ServedModel:
    return ServedModel(name, base_url=server.url, api_key=KEY, options=options)


def one(server: Server, options: ServedOptions = QUICK) -> Generation:
    return model_at(server, options).generate([ask("hello")], Sampling(max_tokens=9))[0]


def error(code: str = "x", message: str = "told") -> str:
    return json.dumps({"error": {"message": message, "type": "t", "code": code}})


def test_it_is_a_model_and_not_an_open_one() -> None:
    model = ServedModel("m", base_url="http://h/v1")
    assert isinstance(model, Model)
    assert not isinstance(model, OpenModel)


def test_a_conversation_is_asked_as_it_is() -> None:
    with serving() as server:
        asked = (Message(role="system", content="S"), *ask("hello"))
        model_at(server).generate([asked], Sampling(temperature=0.5, max_tokens=9))
        body, headers, _ = server.requests[0]
    assert body["messages"] == [{"role": "system", "content": "S"}, {"role": "user", "content": "hello"}]
    assert (body["model"], body["temperature"], body["top_p"], body["max_tokens"]) == ("m", 0.5, 1.0, 9)
    assert headers["authorization"] == f"Bearer {KEY}"


def test_answers_come_back_in_order_with_their_cost() -> None:
    options = QUICK.model_copy(update={"price_in": 2.0, "price_out": 10.0})
    with serving() as server:
        made = model_at(server, options).generate([ask(str(i)) for i in range(20)], Sampling())
    assert [g.answer for g in made] == [f"to: {i}" for i in range(20)]
    usage = made[0].usage
    assert (usage.prompt_tokens, usage.answer_tokens, usage.generations) == (7, 3, 1)
    assert usage.money == pytest.approx((7 * 2 + 3 * 10) / 1e6)
    assert usage.seconds > 0


def test_several_are_asked_at_once_but_not_more_than_told() -> None:
    with serving() as server:
        server.delay = 0.1
        model_at(server, QUICK.model_copy(update={"workers": 3})).generate([ask(str(i)) for i in range(9)], Sampling())
        assert server.most == 3


def test_repeats_have_seeds_of_their_own_and_a_batch_has_the_same_again() -> None:
    with serving() as server:
        for _ in range(2):
            model_at(server).generate([ask("hello")] * 5, Sampling(seed=3))
        seeds = [body["seed"] for body, _, _ in server.requests]
    assert len(set(seeds[:5])) == 5
    assert sorted(seeds[:5]) == sorted(seeds[5:])


def test_further_fields_are_sent() -> None:
    with serving() as server:
        one(server, QUICK.model_copy(update={"extra": {"top_k": -1}}))
        assert server.requests[0][0]["top_k"] == -1


def test_an_answer_cut_at_max_tokens_is_not_complete() -> None:
    with serving((200, {}, json.dumps(completion("half", "length")))) as server:
        assert one(server).complete is False


@pytest.mark.medium
@pytest.mark.parametrize(
    "step",
    [
        (429, {}, error()),
        (500, {}, error()),
        (502, {}, "<html>bad gateway</html>"),
        (503, {}, ""),
        (200, {}, '{"choices": [{"mess'),
        (200, {}, "null"),
        (200, {}, "[]"),
        (200, {}, '{"choices": []}'),
        (200, {}, '{"choices": [{"message": {"content": 5}}]}'),
        (200, {}, error()),
        (200, {"Content-Type": "text/html"}, "<html>hello</html>"),
        "cut off",
        "hang up",
        "hang",
    ],
    ids=str,
)
def test_what_passes_by_itself_is_tried_again(step) -> None:
    with serving(step, step) as server:
        made = one(server, QUICK.model_copy(update={"timeout": 0.5}) if step == "hang" else QUICK)
        assert len(server.requests) == 3
    assert (made.answer, made.failure, made.usage.retries) == ("to: hello", None, 2)


@pytest.mark.parametrize(
    "step", [(500, {}, error()), (504, {}, error()), (200, {}, "{"), "cut off", "hang up"], ids=str
)
def test_what_does_not_pass_is_a_failure_of_that_task_alone(step) -> None:
    with serving(*[step] * 4) as server:
        model = model_at(server, QUICK.model_copy(update={"workers": 1}))
        made = model.generate([ask("a"), ask("b")], Sampling())
        assert len(server.requests) == 5
    assert made[0].answer == ""
    assert "4 attempts" in str(made[0].failure)
    assert [g.usage.retries for g in made] == [3, 0]
    assert [sum(g.usage.troubles.values()) for g in made] == [4, 0]  # the last failure too, which was not tried again
    assert (made[1].answer, made[1].failure) == ("to: b", None)


@pytest.mark.parametrize("status", [429, 502, 503, 529])
def test_a_server_that_is_busy_uses_up_no_attempts(status: int) -> None:
    with serving(*[(status, {}, error())] * 7) as server:
        made = one(server)
    assert (made.answer, made.failure, made.usage.retries) == ("to: hello", None, 7)
    assert made.usage.troubles == {f"status {status}": 7}


def test_a_server_that_refuses_all_is_given_up_with_one_line() -> None:
    with serving(then=lambda here: (429, {}, error(message="slow down"))) as server:
        began = time.monotonic()
        with pytest.raises(UserError, match=r"has refused every request for \d s \(status 429: .*slow down") as caught:
            one(server, QUICK.model_copy(update={"backoff": 0.05, "patience": 0.5}))
    assert 0.5 <= time.monotonic() - began < 3
    assert "\n" not in str(caught.value)


def test_a_failure_is_told_alike_whenever_it_comes() -> None:
    told = [
        error(message=f"request req_{i}f3a9c0d77 of 5fd7c2e{i}-0b1c-4d2e-9f3a-aa12bb34cc5{i} broke") for i in (1, 2)
    ]
    with serving(*[(500, {}, one) for one in told for _ in range(4)]) as server:
        model = model_at(server)
        made = [model.generate([ask("a")], Sampling())[0].failure for _ in range(2)]
    assert made[0] == made[1]
    assert "request (id) of (id) broke" in str(made[0])


@pytest.mark.medium
@pytest.mark.parametrize("told", ["0.3", formatdate(time.time() + 1.9, usegmt=True)], ids=["seconds", "date"])
def test_retry_after_is_waited_for(told: str) -> None:
    if told != "0.3":
        told = formatdate(time.time() + 2, usegmt=True)  # whole seconds: between one and two from now
    with serving((429, {"Retry-After": told}, error())) as server:
        assert one(server).failure is None
        times = [when for _, _, when in server.requests]
    assert times[1] - times[0] >= (0.3 if told == "0.3" else 0.5)


def test_a_retry_after_that_cannot_be_read_is_no_obstacle() -> None:
    with serving((429, {"Retry-After": "soon"}, error())) as server:
        assert one(server).failure is None


def test_waits_grow() -> None:
    with serving(*[(500, {}, "")] * 3) as server:
        one(server, QUICK.model_copy(update={"backoff": 0.1}))
        times = [when for _, _, when in server.requests]
    waits = [b - a for a, b in itertools.pairwise(times)]
    assert all(wait >= 0.05 * 2**i for i, wait in enumerate(waits))


def test_a_bad_request_is_not_repeated() -> None:
    with serving((400, {}, error(message="context too long"))) as server:
        made = one(server)
        assert len(server.requests) == 1
    assert made.failure == "model: status 400: context too long"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"object": "error", "message": "too long", "code": 400}, ": too long"),
        ({"detail": "too long"}, ": too long"),
        ({"error": "too long"}, ": too long"),
        ({}, ""),
        ([], ""),
    ],
    ids=str,
)
def test_what_a_server_says_of_an_error_is_found_wherever_it_puts_it(body: object, said: str) -> None:
    with serving((400, {}, json.dumps(body))) as server:
        assert one(server).failure == f"model: status 400{said}"


def test_a_filtered_answer_is_a_failure() -> None:
    with serving((200, {}, json.dumps(completion(None, "content_filter")))) as server:
        assert "content_filter" in str(one(server).failure)


@pytest.mark.parametrize(
    ("message", "gone", "come"),
    [
        (
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            "max_tokens",
            "max_completion_tokens",
        ),
        ("unknown field: seed", "seed", "max_tokens"),
    ],
)
def test_a_server_that_wants_another_form_gets_it(message: str, gone: str, come: str) -> None:
    with serving((400, {}, error(message=message))) as server:
        model = model_at(server)
        drawn = [model.generate([ask("a")], Sampling())[0] for _ in range(2)]
        assert [(one.failure, one.usage.retries) for one in drawn] == [(None, 0)] * 2
        bodies = [body for body, _, _ in server.requests]
    assert [gone in body for body in bodies] == [True, False, False]
    assert come in bodies[1]


@pytest.mark.medium
@pytest.mark.parametrize(
    ("step", "says"),
    [
        ((401, {}, error(message=f"Incorrect API key: {KEY}")), "OPENAI_API_KEY"),
        ((403, {}, error()), "OPENAI_API_KEY"),
        ((404, {}, error()), "knows no model 'm'"),
        ((429, {}, error("insufficient_quota", "You exceeded your quota.")), "no quota left"),
    ],
)
def test_what_the_user_must_mend_is_one_line(step, says: str) -> None:
    with serving(*[step] * 50) as server, pytest.raises(UserError, match=says) as caught:
        model_at(server).generate([ask(str(i)) for i in range(50)], Sampling())
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def test_a_server_that_is_not_there_is_one_line_at_once() -> None:
    model = ServedModel("m", base_url=free_address(), options=ServedOptions())
    began = time.monotonic()
    with pytest.raises(UserError, match="no server answers"):
        model.generate([ask(str(i)) for i in range(100)], Sampling())
    assert time.monotonic() - began < 5


def test_a_server_that_has_gone_for_good_is_one_line_when_patience_ends() -> None:
    with serving() as server:
        model = model_at(server, QUICK.model_copy(update={"patience": 0.5}))
        model.generate([ask("a")], Sampling())
    began = time.monotonic()
    for _ in range(2):  # it is not waited for again
        with pytest.raises(UserError, match="no server answers"):
            model.generate([ask("b")], Sampling())
    assert 0.5 <= time.monotonic() - began < 3


def test_a_server_that_serves_one_model_only_is_told_from_a_bad_request() -> None:
    told = json.dumps({"detail": "Server is pinned to '/models/a'; requested 'm'."})
    with (
        serving((400, {}, told)) as server,
        pytest.raises(UserError, match=r"knows no model 'm'.*pinned to '/models/a'"),
    ):
        one(server)


def test_without_an_address_or_a_key_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError, match="OPENAI_BASE_URL"):
        ServedModel("m")


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://h/v1", "http:///v1", "http://me:pass@h/v1", "http://h/v1?key=a"]
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(UserError) as caught:
        ServedModel("m", base_url=url)
    assert "pass@" not in str(caught.value)


def test_the_key_is_nowhere(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    leak = (500, {}, error(message=f"your key {KEY} is fine"))
    with serving(*[leak] * 4, (400, {}, error(message=KEY))) as server:
        model = model_at(server, QUICK.model_copy(update={"workers": 1}))
        made = model.generate([ask("a"), ask("b")], Sampling())
    assert [g.failure is None for g in made] == [False, False]
    told = [repr(model), repr(vars(model)), model.name, model.identity, str([g.model_dump() for g in made])]
    assert KEY not in " ".join(told) + caplog.text + "".join(capfd.readouterr())


def test_identity_is_model_and_fields_but_neither_key_nor_address() -> None:
    def identity(url: str = "http://h/v1", name: str = "m", key: str = "a", **extra: int) -> str:
        return ServedModel(name, base_url=url, api_key=key, options=ServedOptions(extra=extra)).identity

    assert identity() == identity(key="b") == identity(url="http://g/v1")
    assert len({identity(), identity(name="n"), identity(top_k=1)}) == 3
