"""The bench of captures: its figures are there, its loop is the formula, and its clock takes things in turn."""

import json
from pathlib import Path

import pytest
import torch

from scrutable.bench.capture import CaptureConfig, capture, in_turn, loop
from scrutable.models.inject import Injection


def test_everything_is_timed_once_a_round_each_round_beginning_with_another() -> None:
    order: list[str] = []
    found = in_turn({name: lambda name=name: order.append(name) for name in "abc"}, 3, "cpu")
    assert {name: len(times) for name, times in found.items()} == dict.fromkeys("abc", 3)
    rounds = ["".join(order[at : at + 3]) for at in range(0, len(order), 3)]
    assert rounds == ["bca", "cab", "abc", "bca", "cab"]  # the first two only warm up


def test_the_loop_adds_what_the_indexed_write_adds() -> None:
    draw = torch.Generator().manual_seed(1)
    stream, vectors = torch.randn(3, 6, 8, generator=draw), torch.randn(3, 2, 8, generator=draw)
    columns = torch.tensor([[0, 4], [5, 1], [2, 3]])
    wanted = Injection(vectors.flatten(0, 1), torch.tensor([0, 0, 1, 1, 2, 2]), columns.flatten()).added(stream)
    torch.testing.assert_close(loop(stream, vectors, columns), wanted)


@pytest.mark.medium
def test_the_bench_gives_a_figure_for_everything_that_is_promised(tmp_path: Path) -> None:
    small = CaptureConfig(
        rounds=5, big_rounds=3, batch=2, big_batch=2, prompt=6, answer=2, width=64, layers=2, rows=512, injected=2
    )
    said: list[str] = []
    found = capture(small, said.append)
    assert json.loads(json.dumps(found)) == found
    for name in ("pidgin", "random Llama"):
        told = found[name]["over a bare pass"]
        assert {
            "hooks on all layers, with the head",
            "stop at the middle",
            "difference by toggling, all layers",
        } < told.keys()
        assert all(one["ratio"] > 0 for one in told.values())
        assert all(one["largest difference"] < 1e-4 for one in found[name]["injection"].values())
    assert any("stop at the middle" in line for line in said)
