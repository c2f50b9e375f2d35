"""What the terminal says of a measurement."""

import pytest
from tests.report.synthetic import around, fidelity

from scrutable.cli.measure import tell
from scrutable.cli.screen import Screen
from scrutable.core.accounts import Share


def test_a_share_no_higher_than_that_of_unrelated_texts_is_called_that(capsys: pytest.CaptureFixture[str]) -> None:
    weak = Share(name="js", value=around(0.1, 0.05), unrelated=(0.0, 0.08, 0.2))
    strong = Share(name="kl", value=around(0.9, 0.05), unrelated=(0.0, 0.08, 0.2))
    found = fidelity("x", 0.9)
    tell(found.model_copy(update={"shares": (strong, weak)}), Screen())
    assert "no more than unrelated texts: Jensen–Shannon recovered\n" in capsys.readouterr().out
    tell(found.model_copy(update={"shares": (strong,)}), Screen())
    assert "no more than" not in capsys.readouterr().out
