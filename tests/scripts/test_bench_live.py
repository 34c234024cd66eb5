"""What `bench.py live` demands: in full on a fast machine, in proportion on a slow one, and it can be missed."""

from __future__ import annotations

from benches.live import demands

GOOD = {
    "render_bench_frames_per_second": 200.0,
    "key_to_presented_ms_median": 70.0,
    "moving_pictures_per_second": 25.0,
    "warp_gain_db": 6.9,
    "idle_page_and_server_share_of_a_core": 0.03,
    "soak_grew_mib": None,
}


def missed(**changed: float) -> set[str]:
    return {name for name, each in demands({**GOOD, **changed}).items() if not each["met"]}


def test_what_is_missed_is_said() -> None:
    assert missed() == set()
    assert missed(key_to_presented_ms_median=90.0) == {"key_to_presented_ms_median"}
    assert missed(moving_pictures_per_second=20.0) == {"moving_pictures_per_second"}
    assert missed(warp_gain_db=4.0, idle_page_and_server_share_of_a_core=0.06) == {
        "warp_gain_db",
        "idle_page_and_server_share_of_a_core",
    }


def test_a_machine_that_is_half_as_fast_may_be_half_as_good_in_rates_and_latencies_only() -> None:
    slow = {"render_bench_frames_per_second": 75.0, "key_to_presented_ms_median": 159.0}
    assert missed(**slow, moving_pictures_per_second=12.5) == set()
    assert missed(**slow, moving_pictures_per_second=11.5) == {"moving_pictures_per_second"}
    assert missed(**slow, moving_pictures_per_second=12.5, warp_gain_db=4.9) == {"warp_gain_db"}
