"""Files: whole or not at all, safetensors only, and never outside the root."""

from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from scrutable.core.errors import UserError
from scrutable.core.files import inside, load_tensors, no_room, replacing_folder, save_tensors, write_atomic


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "", "..", "a\\..\\x", "a\0b"])
def test_no_name_leaves_the_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="leaves"):
        inside(tmp_path, name)


def test_no_symbolic_link_leaves_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match="leaves"):
        inside(root, "link/x")


def test_a_name_inside_is_joined(tmp_path: Path) -> None:
    assert inside(tmp_path, "a/b.txt") == tmp_path / "a" / "b.txt"


def test_a_write_replaces_and_leaves_no_other_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "new" / "x.txt", "one")
    write_atomic(tmp_path / "new" / "x.txt", b"two")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["x.txt"]
    assert (tmp_path / "new" / "x.txt").read_text() == "two"


def test_a_file_never_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("old")
    with pytest.raises(OSError, match="mine"):
        write_atomic(tmp_path / "mine", "new")
    assert (tmp_path / "mine" / "x").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "a") as place:
        (place / "x").write_text("old")
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "a") as place:
        (place / "x").write_text("new")
        raise RuntimeError
    assert (tmp_path / "a" / "x").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    for name in ("x", "y"):
        with replacing_folder(tmp_path / "a") as place:
            (place / name).write_text(name)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["y"]


@pytest.mark.parametrize("name", ["model.bin", "deep/state.pt", "x.pkl"])
def test_a_folder_with_a_pickle_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="pickle"), replacing_folder(tmp_path / "a") as place:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(b"")
    assert not list(tmp_path.iterdir())


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    import torch

    whole = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    tensors = {"whole": whole, "turned": whole.T, "array": np.ones(2), "half": torch.ones(2, dtype=torch.bfloat16)}
    save_tensors(tmp_path / "x.safetensors", tensors)  # two of them share memory, one is not contiguous
    back = load_tensors(tmp_path / "x.safetensors")
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], torch.as_tensor(value)) for name, value in tensors.items())


def test_equal_tensors_give_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_tensors(tmp_path / name, {"x": np.arange(5), "y": np.zeros((2, 2))})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(UserError, match="no safetensors"):
        load_tensors(tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="missing"):
        load_tensors(tmp_path / "y.safetensors")


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(122, "Disk quota exceeded"), "Disk quota exceeded"),
        (SafetensorError("Error while serializing: I/O error: File too large (os error 27)"), "File too large"),
        (PermissionError(13, "Permission denied"), None),
        (SafetensorError("Error while serializing: I/O error: Permission denied (os error 13)"), None),
        (ValueError("28"), None),
    ],
)
def test_a_lack_of_room_is_told_from_other_errors(error: Exception, why: str | None) -> None:
    assert no_room(error) == why
