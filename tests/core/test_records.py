"""Records: what is added up."""

from __future__ import annotations

from scrutable.core.records import Usage


def test_reasons_of_failed_requests_are_summed_by_reason() -> None:
    total = Usage(troubles={"status 429": 2}, retries=2) + Usage(troubles={"status 429": 1, "too late": 1}, retries=1)
    assert (total.retries, total.troubles) == (3, {"status 429": 3, "too late": 1})
