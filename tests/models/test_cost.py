"""The estimate before anything is spent."""

from scrutable.models.cost import estimate
from scrutable.models.hf import HFModel


def test_size_is_counted_and_time_is_measured(llama: HFModel) -> None:
    found = estimate(llama, prompt_tokens=20, answer_tokens=10, batch=4)
    numbers = sum(p.numel() for p in llama.module.parameters())
    assert found.parameters == numbers
    assert found.weight_bytes == 4 * numbers
    assert found.batch_bytes == 2 * 4 * 4 * 10 * 73
    assert 0 < found.seconds_per_pass < 1
