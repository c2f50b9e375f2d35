"""What people see when they print a share, or a fidelity."""

from scrutable.core.accounts import Fidelity, Interval, Share

KL = Share(name="kl", value=Interval(value=0.986, low=0.983, high=0.987), unrelated=(0.007, -0.001), random=(0.002,))
ONE = Interval(value=0.0123)


def fidelity(changed: bool) -> Fidelity:
    gaps = dict.fromkeys(("kl", "kl_left", "kl_base", "js"), ONE)
    shares = (KL, Share(name="js", why_not="nothing to tell"))
    return Fidelity(
        text="t", tasks=2, answers=4, changed=changed, threshold=0.05, threshold_from="stated", shares=shares, **gaps
    )


def test_a_printed_share_has_its_interval_and_its_nulls() -> None:
    told = "kl recovered 98.6% (98.3 to 98.7%); unrelated texts at most 0.7%; random texts at most 0.2%"
    assert str(KL) == told


def test_a_printed_fidelity_has_a_line_for_each_share() -> None:
    assert str(fidelity(changed=True)) == f"{KL}\njs: no share (nothing to tell)"


def test_a_printed_fidelity_without_a_change_prints_no_share() -> None:
    told = "nothing measurable changed: KL(tuned ‖ base) is 0.0123 nats an answer, not above 0.05"
    assert str(fidelity(changed=False)) == told
