"""What the terminal says of a measurement."""

from collections.abc import Callable, Mapping

import pytest
from tests.cli.conftest import Called
from tests.report.synthetic import around, fidelity

from scrutable.cli.measure import tell
from scrutable.cli.screen import Screen
from scrutable.core.accounts import Share
from scrutable.core.config import Config
from scrutable.core.errors import UserError


def test_a_share_no_higher_than_that_of_unrelated_texts_is_called_that(capsys: pytest.CaptureFixture[str]) -> None:
    weak = Share(name="js", value=around(0.1, 0.05), unrelated=(0.0, 0.08, 0.2))
    strong = Share(name="kl", value=around(0.9, 0.05), unrelated=(0.0, 0.08, 0.2))
    found = fidelity("x", 0.9)
    tell(found.model_copy(update={"shares": (strong, weak)}), Screen())
    assert "no more than unrelated texts: Jensen–Shannon recovered\n" in capsys.readouterr().out
    tell(found.model_copy(update={"shares": (strong,)}), Screen())
    assert "no more than" not in capsys.readouterr().out


@pytest.mark.parametrize("verb", [("read", "a", "b", "--env", "flattery"), ("demo",)])
def test_what_counts_as_a_change_is_said_once_for_lenses_and_fidelity(
    verb: tuple[str, ...], call: Callable[..., Called], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, object] = {}

    def job(_: str, __: int, ___: object, configs: Mapping[str, Config]) -> Config:
        found.update({name: one.identity().get("stated") for name, one in configs.items()})
        raise UserError("enough")

    monkeypatch.setattr(f"scrutable.cli.{verb[0]}.job", job)
    assert "enough" in call(*verb, "--measure-stated", "0.2").err
    assert found["tokens"] == found["distill"] == found["measure"] == 0.2
    assert "--tokens-stated" in call(*verb, "--tokens-stated", "0.2").err
