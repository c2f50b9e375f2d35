"""Shards: what is read back is what was read; a kill loses one shard at most; a full disk is one line, and is got over."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from tests.cut import cut_off

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.models import shards
from scrutable.models.capture import Capture, Difference
from scrutable.models.hf import HFModel
from scrutable.models.passages import ANSWER, Passage, States
from scrutable.models.shards import Activations, collect

PASSAGES = [
    Passage(f"task {i}", i % 3, tuple(range(5, 8 + i % 4)), tuple(range(10, 11 + i * 7 % 12))) for i in range(40)
]
PLACES = ("residual.0", "in.1.mlp.down_proj")


@dataclass
class Counted:
    """A reader that counts what is asked of it."""

    inner: Capture
    asked: list[int] = field(default_factory=list)

    def __getattr__(self, name: str):
        return getattr(self.inner, name)

    def read(self, items: Sequence[Passage]) -> States:
        self.asked.append(len(items))
        return self.inner.read(items)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run.open(tmp_path / "run", {"seed": 1}) as opened:
        yield opened


@pytest.fixture
def reader(llama: HFModel) -> Counted:
    return Counted(Capture(llama, PLACES))


LIMIT = 20_000


def same(found: Activations, wanted: States) -> None:
    """What stands in the parts, put together, is what was read at once."""
    parts = list(found)
    assert found.rows == len(wanted) == sum(map(len, parts))
    told = [part.row(n) for part in parts for n in range(len(part))]
    assert told == [wanted.row(n) for n in range(len(wanted))]
    for place in PLACES:
        whole = torch.cat([part.at[place] for part in parts])
        torch.testing.assert_close(whole, wanted.at[place], rtol=1e-4, atol=1e-4)


def test_what_fits_stays_in_memory_and_leaves_nothing(run: Run, reader: Counted) -> None:
    found = collect(reader, PASSAGES, run)
    same(found, reader.inner.read(PASSAGES))
    assert run.events() == [] and not (run.path / "artifacts").exists()


def test_past_its_size_it_is_written_in_shards_that_read_back_the_same(run: Run, reader: Counted) -> None:
    found = collect(reader, PASSAGES, run, LIMIT)
    for _ in range(2):
        same(found, reader.inner.read(PASSAGES))
    events = run.events("states")
    assert len(events) == len(reader.asked) > 4
    for event in events:
        file = run.path / event.payload["tensors"]["path"]
        assert file.stat().st_size < LIMIT // 2 + 2000  # and a header
    assert run.cost().forward_passes == len(PASSAGES)


def test_batches_of_a_place_are_its_rows_in_order(run: Run, reader: Counted) -> None:
    found = list(collect(reader, PASSAGES, run, LIMIT).batches("residual.0", 7))
    assert max(map(len, found)) == 7
    wanted = reader.inner.read(PASSAGES).at["residual.0"]
    torch.testing.assert_close(torch.cat(found), wanted, rtol=1e-4, atol=1e-4)


def test_differences_are_collected_alike(run: Run, llama: HFModel, adapter_of: Callable[..., Path]) -> None:
    reader = Difference.of(llama, llama.with_adapter(adapter_of()), PLACES)
    shown = [(one, one) for one in PASSAGES]
    same(collect(reader, shown, run, LIMIT), reader.read(shown))
    assert run.cost().forward_passes == 2 * len(PASSAGES)


def test_a_second_reading_pays_nothing(run: Run, reader: Counted) -> None:
    collect(reader, PASSAGES, run, LIMIT)
    asked = list(reader.asked)
    same(collect(reader, PASSAGES, run, LIMIT), reader.inner.read(PASSAGES))
    assert reader.asked == asked


def test_other_places_models_and_answers_are_other_shards(run: Run, llama: HFModel) -> None:
    collect(Capture(llama, PLACES), PASSAGES, run, LIMIT)
    before = len(run.events())
    collect(Capture(llama, ("residual.0", "residual.1", "embedding")), PASSAGES, run, LIMIT)
    assert len(run.events()) > before
    keys = {event.key for event in run.events()}
    changed = [Passage(one.task, one.answer, one.prompt, (*one.tokens, 4)) for one in PASSAGES]
    collect(Capture(llama, PLACES), changed, run, LIMIT)
    assert len({event.key for event in run.events()} - keys) >= before


def test_a_killed_run_goes_on_after_its_last_whole_shard(tmp_path: Path, reader: Counted) -> None:
    whole, resumed = cut_off(lambda run: collect(reader, PASSAGES, run, LIMIT), tmp_path, 3)
    assert len(reader.asked) == 2 * len(whole.shards) + 1  # that which was read when it was killed
    same(resumed, reader.inner.read(PASSAGES))


PROGRAM = """
import os, resource, signal, sys
sys.path.insert(0, sys.argv[3])
from tests.models.test_shards import LIMIT, PASSAGES, PLACES, Counted
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.models.capture import Capture
from scrutable.models.hf import load_model
from scrutable.models.shards import collect

reader = Counted(Capture(load_model(sys.argv[1], device="cpu"), PLACES))
with Run.open(sys.argv[2], {"seed": 1}) as run:
    if sys.argv[4] == "kill":
        run.subscribe(lambda event: os.kill(os.getpid(), signal.SIGKILL) if len(run.events()) == 3 else None)
    if sys.argv[4] == "full":  # of a file that may grow no further, the system says so as of a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[5]), resource.RLIM_INFINITY))
    try:
        collect(reader, PASSAGES, run, LIMIT)
    except UserError as error:
        print(error)
    print(len(reader.asked), len(run.events()))
"""


def in_process(folder: Path, run: Path, *how: str) -> tuple[int, str]:
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(run), root, *how], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout or done.stderr


@pytest.mark.medium
def test_a_process_killed_outright_pays_for_no_shard_twice(
    tmp_path: Path, folder_of: Callable[..., Path], reader: Counted
) -> None:
    code, _ = in_process(folder_of(), tmp_path / "run", "kill")
    assert code == -signal.SIGKILL
    with Run.read(tmp_path / "run") as run:
        assert len(run.events("states")) == 3
    code, said = in_process(folder_of(), tmp_path / "run", "go")
    with Run.temporary() as whole:
        collect(reader, PASSAGES, whole, LIMIT)
    assert code == 0 and said.split() == [str(len(reader.asked) - 3), str(len(reader.asked))]


@pytest.mark.medium
def test_where_a_file_cannot_grow_it_is_one_line_and_can_be_gone_on_with(
    tmp_path: Path, folder_of: Callable[..., Path]
) -> None:
    _, said = in_process(folder_of(), tmp_path / "run", "full", "9500")  # some shards are longer than that, some not
    line, counts = said.splitlines()
    assert "has no room for activations (File too large): make 1 MB free" in line and "run it again" in line
    read, stand = map(int, counts.split())
    assert 0 < stand < read
    assert not list((tmp_path / "run").rglob("*.part"))
    code, said = in_process(folder_of(), tmp_path / "run", "go")
    read_now, all_of_them = map(int, said.split())
    assert code == 0 and read_now == all_of_them - stand


def test_a_full_disk_is_one_line_and_can_be_gone_on_with(
    run: Run, reader: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, left = Run.save_tensors, [3]

    def saving(self, *given):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, os.strerror(28))
        return save(self, *given)

    monkeypatch.setattr(Run, "save_tensors", saving)
    with pytest.raises(UserError, match=r"has no room for activations \(No space left on device\)") as caught:
        collect(reader, PASSAGES, run, LIMIT)
    assert "\n" not in str(caught.value) and "3 of " in str(caught.value)
    monkeypatch.undo()
    before = len(reader.asked)
    found = collect(reader, PASSAGES, run, LIMIT)
    assert len(reader.asked) == before + len(found.shards) - 3
    same(found, reader.inner.read(PASSAGES))


def test_another_error_of_the_disk_stays_itself(run: Run, reader: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    def saving(*_):
        raise PermissionError(13, "no")

    monkeypatch.setattr(Run, "save_tensors", saving)
    with pytest.raises(PermissionError):
        collect(reader, PASSAGES, run, LIMIT)


def test_a_shard_that_is_gone_is_told_in_one_line(run: Run, reader: Counted) -> None:
    found = collect(reader, PASSAGES, run, LIMIT)
    (run.path / found.shards[1].payload["tensors"]["path"]).unlink()
    parts = iter(found)
    next(parts)
    with pytest.raises(UserError, match="is missing"):
        next(parts)


def test_an_item_larger_than_a_shard_is_one_shard() -> None:
    assert list(shards._parts([1, 2, 3, 4], [5, 50, 5, 5], 12)) == [[1], [2], [3, 4]]


def test_the_payload_is_json_and_says_where_rows_come_from(run: Run, reader: Counted) -> None:
    collect(reader, PASSAGES, run, LIMIT)
    payload = run.events("states")[0].payload
    assert json.loads(json.dumps(dict(payload))) == dict(payload)
    assert payload["cells"][:2] == [["task 0", 0], ["task 1", 1]]
    assert payload["rows"] == sum(len(ANSWER.over(one)) for one in PASSAGES[: len(payload["cells"])])
