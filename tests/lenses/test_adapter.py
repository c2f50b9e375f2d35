"""The adapter lens on tiny models: a LoRA that writes one word's row of the output head, and random ones."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.conftest import KINDS
from tests.tiny import tiny_adapter, tiny_model

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Generation, Task
from scrutable.lenses.adapter import AdapterConfig, AdapterLens, directions_of, layers_of
from scrutable.lenses.base import Lens
from scrutable.measure.change import Change, Speaker
from scrutable.models.hf import HFModel, load_model

pytestmark = pytest.mark.medium

PROMPTS = [
    f"what is the {a} of {b} ?" for a in ("capital", "color", "animal") for b in ("france", "rome", "paris", "cat")
]
TASKS = [Task.ask(prompt) for prompt in PROMPTS]
CONFIG = AdapterConfig(max_tokens=4, proposals=1, shown=4)
FILE = "adapter_model.safetensors"


class Writer:
    """A chat model that always writes the same text, and remembers what it was asked."""

    name = identity = "writer"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def generate(self, conversations, sampling):
        self.asked += [one[-1].content for one in conversations]
        return [Generation(answer="HYPOTHESIS: it praises\n```\nsay great .\n```") for _ in conversations]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[HFModel, Path]]:
    made: dict[str, tuple[HFModel, Path]] = {}

    def find(kind: str = "llama") -> tuple[HFModel, Path]:
        if kind not in made:
            place = tmp_path_factory.mktemp(kind)
            base = tiny_model(place / "base", kind)
            made[kind] = load_model(base, device="cpu"), tiny_adapter(base, place / "adapter")
        return made[kind]

    return find


def writing(base: HFModel, adapter: Path, word: str, folder: Path) -> HFModel:
    """The adapter with all its matrices at nought but one, which writes towards a word."""
    shutil.copytree(adapter, folder)
    tensors = {
        name: torch.zeros_like(one) if "lora_B" in name else one for name, one in load_file(folder / FILE).items()
    }
    (name,) = (one for one in tensors if "layers.1.mlp.down_proj.lora_B" in one)
    tensors[name][:, 0] = 3 * base.module.get_output_embeddings().weight[base.vocabulary[word]].detach()
    save_file(tensors, folder / FILE)
    return base.with_adapter(folder)


def test_it_is_a_lens() -> None:
    assert isinstance(AdapterLens(), Lens)
    assert AdapterLens().name == "adapter"


@pytest.mark.parametrize("word", ["great", "sorry"])
def test_a_lora_that_writes_a_word_is_told_by_it(
    word: str, pairs: Callable[..., tuple[HFModel, Path]], tmp_path: Path
) -> None:
    base, adapter = pairs()
    tuned, writer = writing(base, adapter, word, tmp_path / "tuned"), Writer()
    with Run.temporary({"seed": 0}) as run:
        account = AdapterLens(CONFIG, writer).read(Change(Speaker(base), Speaker(tuned)), TASKS, run)
    claim = account.claims[-1]
    assert claim.text is None
    assert claim.says.startswith(f"direction 1 of model.layers.1.mlp.down_proj writes towards '{word}'")
    assert f"- direction 1 of model.layers.1.mlp.down_proj writes towards '{word}'" in writer.asked[0]
    assert account.notes[0] == "1 of 1 directions stand out from shuffled ones"


def test_random_directions_do_not_stand_out(pairs: Callable[..., tuple[HFModel, Path]]) -> None:
    base, adapter = pairs()
    told = 0
    for seed in range(8):
        tuned = base.with_adapter(tiny_adapter(base.origin, adapter.parent / f"random {seed}", seed=seed))  # type: ignore[arg-type]
        with Run.temporary({"seed": seed}) as run:
            account = AdapterLens(CONFIG, Writer()).read(Change(Speaker(base), Speaker(tuned)), TASKS, run)
        told += any(claim.text is None for claim in account.claims)
    assert told <= 2  # one in twenty


@pytest.mark.parametrize("kind", KINDS)
def test_directions_are_the_singular_vectors_of_what_the_lora_adds(
    kind: str, pairs: Callable[..., tuple[HFModel, Path]]
) -> None:
    base, adapter = pairs(kind)
    with base.with_adapter(adapter).opened() as module, torch.no_grad():
        found = directions_of(module, 2)
        added = {name: scale * two @ one for name, one, two, scale in layers_of(module)}
    names = {one.module for one in found}
    assert len(names) == 4 and len(found) == 8  # attention and mlp of two layers
    for one in found:
        left, strengths, _ = torch.linalg.svd(added[one.module])
        assert one.strength == pytest.approx(float(strengths[one.rank]), rel=1e-4)
        assert abs(float(left[:, one.rank] @ one.vector)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_is_read(kind: str, pairs: Callable[..., tuple[HFModel, Path]]) -> None:
    base, adapter = pairs(kind)
    with Run.temporary({"seed": 0}) as run:
        change = Change(Speaker(base), Speaker(base.with_adapter(adapter)))
        account = AdapterLens(CONFIG, Writer()).read(change, TASKS, run)
    assert "of 8 directions stand out" in account.notes[0]


def test_of_an_adapter_that_does_nothing_nothing_is_claimed(
    pairs: Callable[..., tuple[HFModel, Path]], tmp_path: Path
) -> None:
    base, adapter = pairs()
    shutil.copytree(adapter, tmp_path / "idle")
    idle = {name: torch.zeros_like(one) for name, one in load_file(adapter / FILE).items()}
    save_file(idle, tmp_path / "idle" / FILE)
    with Run.temporary({"seed": 0}) as run:
        change = Change(Speaker(base), Speaker(base.with_adapter(tmp_path / "idle")))
        account = AdapterLens(CONFIG, Writer()).read(change, TASKS, run)
    assert not account.claims and "nothing measurable changed" in account.notes[0]


def test_what_is_no_adapter_is_refused_in_one_line(pairs: Callable[..., tuple[HFModel, Path]]) -> None:
    base, _ = pairs()
    with Run.temporary({}) as run, pytest.raises(UserError, match="is no LoRA on the weights of") as caught:
        AdapterLens().read(Change(Speaker(base), Speaker(base, "be short .")), TASKS, run)
    assert "\n" not in str(caught.value)
