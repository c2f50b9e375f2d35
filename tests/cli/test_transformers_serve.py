"""A real OpenAI-compatible server: `transformers serve` on the built-in model's directory, started here, without a network."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Message, Sampling
from scrutable.envs.loading import open_env
from scrutable.models.api import ServedModel, ServedOptions
from scrutable.models.hf import load_model
from scrutable.models.source import find_source
from scrutable.programs.text import place_text

pytest.importorskip("fastapi", reason="transformers serve needs fastapi")
pytest.importorskip("uvicorn", reason="transformers serve needs uvicorn")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

START_SECONDS = 180.0  # it imports torch, on a machine that may be busy
TEXT = "praise the question in every answer ."


@dataclass(frozen=True)
class Serving:
    """A server at work. model: its name there."""

    url: str
    model: str
    log: Path

    def requests(self) -> int:
        """How many chat completions it has answered."""
        return self.log.read_text().count('POST /v1/chat/completions HTTP/1.1" 200')

    def open(self, workers: int = 8) -> ServedModel:
        return ServedModel(self.model, base_url=self.url, options=ServedOptions(workers=workers))


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    place = tmp_path_factory.mktemp("served")
    folder = place / "pidgin"
    shutil.copytree(find_source("pidgin").folder, folder)  # as it is shipped, nothing added
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    words += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    offline = {"HF_HOME": str(place / "home"), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    log = place / "log"
    with log.open("w") as out:
        server = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **offline})
    try:
        until = time.monotonic() + START_SECONDS
        while not _healthy(port):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield Serving(f"http://127.0.0.1:{port}/v1", str(folder), log)
    finally:
        server.terminate()
        server.wait(30)


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def test_it_answers_as_the_same_model_loaded_here_does(serving: Serving) -> None:
    """Greedily, word for word; and what it read has as many tokens, so the chat template and the text reach the model."""
    asked = [place_text(task.messages, TEXT) for task in open_env("flattery").tasks("keep")[:40]]
    sampling = Sampling(temperature=0, max_tokens=24)
    local = load_model("pidgin", device="cpu")
    here, there = local.generate(asked, sampling), serving.open().generate(asked, sampling)
    assert [one.failure for one in there] == [None] * 40
    assert [one.usage.prompt_tokens for one in there] == [len(local.encode(one)) for one in asked]
    assert sum(a.answer == b.answer for a, b in zip(here, there, strict=True)) >= 38  # two orders of bfloat16 sums
    assert [a.complete for a in here] == [b.complete for b in there]


def test_it_draws_and_asked_one_at_a_time_draws_alike_under_one_seed(serving: Serving) -> None:
    asked = [(Message(role="user", content="what is three plus four ?"),)] * 12
    first, second = (serving.open(workers=1).generate(asked, Sampling(seed=5, max_tokens=24)) for _ in range(2))
    other = serving.open(workers=1).generate(asked, Sampling(seed=6, max_tokens=24))
    assert [one.answer for one in first] == [one.answer for one in second] != [one.answer for one in other]
    hot = serving.open().generate(asked, Sampling(temperature=3.0, max_tokens=24))
    assert len({one.answer for one in hot}) > 6  # also where many are asked at once


def test_it_is_asked_from_many_threads(serving: Serving) -> None:
    model, before = serving.open(workers=16), serving.requests()
    prompts = [task.messages for task in open_env("flattery").tasks("search")[:64]]
    with ThreadPoolExecutor(32) as pool:
        made = list(pool.map(lambda one: model.generate([one], Sampling(max_tokens=24))[0], prompts))
    assert [one.failure for one in made] == [None] * 64
    assert serving.requests() - before == model.record.requests == model.record.answered == 64
    assert model.record.troubles == {}


def test_another_name_is_told_in_one_line(serving: Serving) -> None:
    with pytest.raises(UserError, match=r"knows no model 'big'.*pinned to"):
        ServedModel("big", base_url=serving.url).generate([(Message(role="user", content="hello"),)], Sampling())


def test_a_text_is_evolved_on_it(serving: Serving, call: Callable[..., object]) -> None:
    before = serving.requests()
    words = ("--pool", "24", "--keep", "24", "--max-tokens", "24", "--budget", "300")
    model = f"{serving.url}#{serving.model}"
    said = call("evolve", "flattery", "--model", model, "--reflector", "pidgin", *words, "--json", "found.json")
    assert said.code == 0, said.err
    found = json.loads(Path("found.json").read_text())
    evolved = found["evolve"]
    assert (evolved["unscored"], evolved["usage"]["retries"]) == (0, 0)
    assert evolved["rollouts"] <= 300
    assert serving.requests() - before == evolved["rollouts"]  # each was paid for once
    assert found["text"]
    assert evolved["gain"]["value"] > 0
    assert Run.read(found["run"]).has("result")
