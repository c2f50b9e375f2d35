"""The run: append, look up, resume; scopes, draws, listeners, artifacts; and the same after a kill as without one."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrutable.core.config import Config, anywhere
from scrutable.core.errors import UserError
from scrutable.core.journal import Event, Run, differing_keys, events_equal, list_runs
from scrutable.core.records import Rollout, Score, Usage

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def run_child(code: str, *arguments: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


# ---------------------------------------------------------------------------------------------- append and look up


def test_an_event_is_found_by_its_key(tmp_path: Path) -> None:
    with Run.open(tmp_path / "r", {}) as run:
        assert not run.has("a")
        assert run.get("a") is None
        event = run.append("a", "thing", {"x": 1}, cost=Usage(money=0.5), attempt=2)
        assert run.has("a")
        assert run.get("a") is event
        assert event.cost == Usage(money=0.5)
        assert event.meta["attempt"] == 2
        assert run.events("thing") == [event]
        assert run.events("other") == []


def test_a_whole_line_is_on_the_disk_when_append_returns(tmp_path: Path) -> None:
    with Run.open(tmp_path / "r", {}) as run:
        run.append("a", "thing", {"x": "line\nbreak"})
        data = (tmp_path / "r" / "events.jsonl").read_bytes()
    assert data.count(b"\n") == 1
    assert json.loads(data)["payload"] == {"x": "line\nbreak"}


@given(st.dictionaries(st.text(), JSON))
@settings(max_examples=30)
def test_what_append_returns_is_what_a_resumed_run_reads(payload: dict[str, object]) -> None:
    with Run.temporary() as run:
        event = run.append("a", "thing", payload)
        again = Run.read(run.path).get("a")
        assert again is not None
        assert again.payload == event.payload
        assert again.identity == event.identity


def test_records_are_written_as_json_also_inside(tmp_path: Path) -> None:
    rollout = Rollout(task="t", candidate="c", answer="yes", score=Score(value=1.0))
    with Run.open(tmp_path / "r", {}) as run:
        event = run.append("a", "rollouts", {"rollouts": (rollout,)})
        assert Rollout.model_validate(event.payload["rollouts"][0]) == rollout


def test_the_same_event_again_changes_nothing(tmp_path: Path) -> None:
    with Run.open(tmp_path / "r", {}) as run:
        first = run.append("a", "thing", {"x": [1, 2]})
        assert run.append("a", "thing", {"x": (1, 2)}) is first
        assert len(run.events()) == 1


def test_a_key_is_taken_once(tmp_path: Path) -> None:
    with Run.open(tmp_path / "r", {}) as run:
        run.append("a", "thing", {"x": 1, "y": 1})
        with pytest.raises(ValueError, match=r"y: 1 there, 2 now"):
            run.append("a", "thing", {"x": 1, "y": 2})
        with pytest.raises(ValueError, match="kind"):
            run.append("a", "other", {"x": 1, "y": 1})


def test_cost_is_no_part_of_the_identity(tmp_path: Path) -> None:
    score = Score(value=1.0)
    with Run.open(tmp_path / "r", {}) as run:
        payloads = [
            {"all": [Rollout(task="t", candidate="c", answer="", score=score, usage=Usage(seconds=s))]} for s in (1, 2)
        ]
        first = run.append("a", "rollouts", payloads[0])
        assert run.append("a", "rollouts", payloads[1], cost=Usage(seconds=9)) is first


@pytest.mark.parametrize("payload", [{"x": object()}, {"x": {1, 2}}, [1], "text"])
def test_what_is_no_json_mapping_is_refused_and_leaves_nothing(tmp_path: Path, payload: object) -> None:
    with Run.open(tmp_path / "r", {}) as run:
        with pytest.raises(TypeError):
            run.append("a", "thing", payload)  # type: ignore[arg-type]
        assert (tmp_path / "r" / "events.jsonl").read_bytes() == b""


def test_once_makes_what_is_not_done(tmp_path: Path) -> None:
    made = []

    def make() -> tuple[dict[str, int], Usage | None]:
        made.append(1)
        return {"x": 1}, Usage(generations=3)

    for _ in range(2):
        with Run.open(tmp_path / "r", {}) as run:
            assert run.once("a", "thing", make).payload == {"x": 1}
            assert run.cost() == Usage(generations=3)
    assert len(made) == 1


def test_threads_append_whole_lines_and_lose_none(tmp_path: Path) -> None:
    with Run.open(tmp_path / "r", {}) as run:

        def work(thread: int) -> None:
            for i in range(100):
                run.append(f"{thread}/{i}", "thing", {"text": "x" * i})
                run.append(f"shared/{i}", "thing", {"i": i})

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(run.events()) == 900
        assert [e.key for e in Run.read(run.path).events()] == [e.key for e in run.events()]


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write

    def full(handle: int, data: bytes) -> int:
        if len(data) <= 10:
            raise OSError(28, "No space left on device")
        return real(handle, data[:10])

    with Run.open(tmp_path / "r", {}) as run:
        run.append("a", "thing", {})
        before = (tmp_path / "r" / "events.jsonl").read_bytes()
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            run.append("b", "thing", {"x": 123456})
        monkeypatch.undo()
        assert (tmp_path / "r" / "events.jsonl").read_bytes() == before
        assert not run.has("b")
        run.append("b", "thing", {"x": 123456})
    assert len(Run.read(tmp_path / "r").events()) == 2


def test_a_key_of_the_environment_is_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "abcdefghij-0123456789")
    with Run.open(tmp_path / "r", {}) as run:
        event = run.append("a", "failure", {"says": "refused: abcdefghij-0123456789 is wrong"})
    assert event.payload["says"] == "refused: [redacted] is wrong"
    assert b"abcdefghij" not in (tmp_path / "r" / "events.jsonl").read_bytes()


# --------------------------------------------------------------------------------------------- scopes and listeners


def test_a_scope_is_a_prefix_of_keys_draws_and_artifacts(tmp_path: Path) -> None:
    with Run.open(tmp_path / "r", {"seed": 3}) as run:
        inner = run.scope("lens").scope("logits")
        event = inner.append("a", "thing", {})
        run.append("b", "thing", {})
        assert event.key == "lens/logits/a"
        assert inner.get("a") is run.get("lens/logits/a")
        assert inner.events() == [event]
        assert inner.seed_of("x") == run.seed_of("lens/logits/x")
        assert inner.save_tensors("w", {"a": [1.0]}).path == "artifacts/lens/logits/w.safetensors"


def test_listeners_hear_events_in_order_and_may_replay(tmp_path: Path) -> None:
    heard: list[str] = []
    with Run.open(tmp_path / "r", {}) as run:
        run.append("a", "thing", {})
        end = run.subscribe(lambda event: heard.append(event.key), replay=True)
        run.append("b", "thing", {})
        run.append("b", "thing", {})
        end()
        run.append("c", "thing", {})
    assert heard == ["a", "b"]


def test_a_listener_that_fails_ends_no_run(tmp_path: Path) -> None:
    def fail(event: Event) -> None:
        raise RuntimeError(event.key)

    with Run.open(tmp_path / "r", {}) as run:
        run.subscribe(fail)
        with pytest.warns(UserWarning, match="RuntimeError: a"):
            run.append("a", "thing", {})
        run.append("b", "thing", {})
        assert run.has("b")


# ------------------------------------------------------------------------------------------------------------ draws


def test_draws_depend_on_seed_and_key_alone(tmp_path: Path) -> None:
    with Run.open(tmp_path / "a", {"seed": 1}) as one, Run.open(tmp_path / "b", {"seed": 2}) as two:
        first = (one.rng("x").integers(2**60), one.random("x").random(), one.seed_of("x"))
        one.rng("y").random()
        assert (one.rng("x").integers(2**60), one.random("x").random(), one.seed_of("x")) == first
        assert one.seed_of("y") != one.seed_of("x") != two.seed_of("x")
        assert one.random("y").random() != one.random("x").random()


def test_seeds_are_the_same_on_every_machine(tmp_path: Path) -> None:
    """SHA-256 of "7/a/b" begins with these 128 bits."""
    import hashlib

    with Run.open(tmp_path / "r", {"seed": 7}) as run:
        digest = hashlib.sha256(b"7/a/b").hexdigest()
        assert run.seed_of("a/b") == int(digest[24:32], 16) % 2**31
        assert 0 <= run.seed_of("a/b") < 2**31


# -------------------------------------------------------------------------------------------------------- artifacts


def test_tensors_are_saved_and_loaded_by_name_and_by_event(tmp_path: Path) -> None:
    import torch

    with Run.open(tmp_path / "r", {}) as run:
        artifact = run.save_tensors("acts/layer-1", {"x": torch.ones(2, 3)}, "activations")
        assert artifact.path == "artifacts/acts/layer-1.safetensors"
        run.append("a", "captured", artifact)
        assert torch.equal(run.load_tensors("acts/layer-1")["x"], torch.ones(2, 3))
        assert torch.equal(run.load_tensors(artifact)["x"], torch.ones(2, 3))


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/../../../x"])
def test_no_artifact_leaves_the_run_folder(tmp_path: Path, name: str) -> None:
    from scrutable.core.accounts import Artifact

    with Run.open(tmp_path / "r", {}) as run:
        with pytest.raises(UserError, match="leaves"):
            run.save_tensors(name, {})
        with pytest.raises(UserError, match="leaves"):
            run.load_tensors(name)
        with pytest.raises(UserError, match="leaves"):
            run.load_tensors(Artifact(path=name, says=""))
        with pytest.raises(UserError, match="leaves"), run.saving_folder(name):
            pass


def test_a_run_that_is_only_read_writes_nothing(tmp_path: Path) -> None:
    Run.open(tmp_path / "r", {}).close()
    run = Run.read(tmp_path / "r")
    assert not run.writable
    with pytest.raises(UserError, match="reading only"):
        run.append("a", "thing", {})
    with pytest.raises(UserError, match="reading only"):
        run.save_tensors("x", {"a": [1.0]})
    with pytest.raises(UserError, match="reading only"), run.saving_folder("x"):
        pass


# --------------------------------------------------------------------------------------------- resume, lists, equality


class Inner(Config):
    budget: int = 10


class Outer(Config):
    seed: int = 5
    inner: Inner = Inner()
    device: str = anywhere("cpu", "where")


def test_a_run_resumes_under_another_device_but_not_under_another_budget(tmp_path: Path) -> None:
    with Run.open(tmp_path / "r", Outer()) as run:
        assert run.seed == 5
        run.append("a", "thing", {})
    with Run.open(tmp_path / "r", Outer(device="cuda")) as run:
        assert run.has("a")
    with pytest.raises(UserError, match=r"inner\.budget \(10 there, 20 now\); seed \(5 there, 6 now\)") as caught:
        Run.open(tmp_path / "r", Outer(seed=6, inner=Inner(budget=20)))
    assert "\n" not in str(caught.value)
    Run.open(tmp_path / "r", Outer()).close()  # the refusal let the folder go


def test_a_reader_sees_what_a_writer_adds(tmp_path: Path) -> None:
    with Run.open(tmp_path / "r", {}) as writer:
        reader = Run.read(tmp_path / "r")
        assert reader.events() == []
        event = writer.append("a", "thing", {"x": 1})
        assert reader.refresh() == [event]
        assert reader.refresh() == []
        assert reader.get("a") == event


def test_a_temporary_run_is_gone_when_closed() -> None:
    with Run.temporary() as run:
        run.append("a", "thing", {})
        assert run.path.is_dir()
    assert not run.path.exists()
    assert run.has("a")


def test_runs_are_listed_also_damaged_ones(tmp_path: Path) -> None:
    (tmp_path / "no run").mkdir()
    with Run.open(tmp_path / "b", {}) as run:
        run.append("x", "thing", {}, cost=Usage(generations=2))
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "config.json").write_text("{")
        damaged, summary = list_runs(tmp_path)
        assert "damaged" in damaged.problem
        assert summary.held
        assert (summary.name, summary.events, summary.kinds, summary.cost.generations) == ("b", 1, {"thing": 1}, 2)
    assert not list_runs(tmp_path)[1].held
    assert list_runs(tmp_path / "nowhere") == []


def test_runs_are_equal_by_key_and_payload(tmp_path: Path) -> None:
    with Run.open(tmp_path / "a", {}) as one, Run.open(tmp_path / "b", {}) as two:
        one.append("x", "thing", {"v": 1}, cost=Usage(seconds=1))
        one.append("y", "thing", {"v": 2})
        two.append("y", "thing", {"v": 2}, attempt=3)
        assert differing_keys(one, two) == ["x"]
        two.append("x", "thing", {"v": 1})
        assert events_equal(tmp_path / "a", tmp_path / "b")
        two.append("z", "thing", {})
        assert not events_equal(one, two)


# ------------------------------------------------------------------------------------------------------------ kills

WORK = """
    import sys, time
    import numpy as np
    from scrutable.core.journal import Run
    with Run.open(sys.argv[1], {"seed": 11}) as run:
        total = 0
        for i in range(120):
            def make():
                time.sleep(0.001)
                return {"draw": int(run.rng(f"draw/{i}").integers(1000)), "total": total, "text": "x" * 2000}, None
            total += run.once(f"step/{i}", "step", make).payload["draw"]
            print(i, flush=True)
"""


def test_a_run_killed_at_any_moment_continues_as_if_it_had_not_been(tmp_path: Path) -> None:
    assert run_child(WORK, str(tmp_path / "whole")).wait() == 0
    for stop in (3, 40, 41, 90, None):
        child = run_child(WORK, str(tmp_path / "killed"))
        assert child.stdout is not None
        for line in child.stdout:
            if stop is not None and int(line) >= stop:
                child.kill()
                break
        child.communicate()
    assert child.returncode == 0
    assert differing_keys(tmp_path / "whole", tmp_path / "killed") == []


def test_a_kill_in_the_middle_of_a_line_costs_that_line_only(tmp_path: Path) -> None:
    code = """
        import os, signal, sys
        from scrutable.core.journal import Run
        run = Run.open(sys.argv[1], {})
        run.append("a", "thing", {"x": 1})
        real = os.write
        def half(handle, data):
            real(handle, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        os.write = half
        run.append("b", "thing", {"x": 2})
    """
    assert run_child(code, str(tmp_path / "r")).wait() == -signal.SIGKILL
    file = tmp_path / "r" / "events.jsonl"
    assert not file.read_bytes().endswith(b"\n")
    assert [event.key for event in Run.read(tmp_path / "r").events()] == ["a"]
    torn = len(file.read_bytes().splitlines()[-1])
    with Run.open(tmp_path / "r", {}) as run:
        assert run.torn == torn
        assert not run.has("b")
        run.append("b", "thing", {"x": 2})
    with Run.open(tmp_path / "r", {}) as run:
        assert run.torn == 0
    assert [json.loads(line)["key"] for line in file.read_text().splitlines()] == ["a", "b"]


def test_another_process_is_refused_in_one_line_and_may_read(tmp_path: Path) -> None:
    code = """
        import sys
        from scrutable.core.journal import Run
        with Run.open(sys.argv[1], {}) as run:
            run.append("a", "thing", {})
            print("held", flush=True)
            sys.stdin.read()
    """
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "r")]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        with pytest.raises(UserError, match=f"held by process {child.pid}") as caught:
            Run.open(tmp_path / "r", {})
        assert "\n" not in str(caught.value)
        assert Run.read(tmp_path / "r").has("a")
        child.stdin.close()
    Run.open(tmp_path / "r", {}).close()


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with Run.open(tmp_path / "r", {}), pytest.raises(UserError, match="held"):
        Run.open(tmp_path / "r", {})
