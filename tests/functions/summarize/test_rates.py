import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.summarize.planning import Costs
from functions.summarize.rates import BULK_ROWS, BULK_SECONDS, OUTLIER, ROW_BLOCK, SMOOTHING, Rates

PARALLEL = 4
SLICE_SECONDS = 0.25
HOUR = 3600.0
# What float arithmetic may add.
ROUNDING = 1e-9


@pytest.fixture
def rates() -> Rates:
    return Rates(PARALLEL, SLICE_SECONDS)


def measured(prefill: float, decode: float) -> Rates:
    """Rates of a host that reads a token of a prompt in `prefill` seconds and takes `decode` for a step of one."""
    rates = Rates(PARALLEL, SLICE_SECONDS)
    rates.observe(100, 0, False, 100 * prefill)
    rates.observe(0, 1, False, decode)
    return rates


def test_every_phase_and_load_has_its_own_average(rates: Rates) -> None:
    rates.observe(100, 0, False, 9.0)
    for sequences, seconds in enumerate((0.3, 0.4, 0.5, 0.6), 1):
        rates.observe(0, sequences, False, seconds)
    rates.observe(16, 1, True, 0.3 + 16 * 0.1)
    rates.observe(64, 2, False, 0.4 + 64 * 0.095)
    streamed, whole = rates.costs(True), rates.costs(False)
    assert streamed.prefill_seconds_per_token == whole.prefill_seconds_per_token == pytest.approx(0.09)
    assert streamed.decode_seconds_per_step == whole.decode_seconds_per_step == pytest.approx((0.3, 0.4, 0.5, 0.6))
    assert streamed.slice_seconds_per_token == pytest.approx(0.1)
    assert whole.slice_seconds_per_token == pytest.approx(0.095)


def test_a_newer_measurement_counts_for_its_share(rates: Rates) -> None:
    rates.observe(0, 1, False, 1.0)
    rates.observe(0, 1, False, 2.0)
    assert rates.costs(False).decode_seconds_per_step[0] == pytest.approx(1.15)


def test_a_host_that_slows_down_for_good_is_believed(rates: Rates) -> None:
    rates.observe(0, 1, False, 0.1)
    for _ in range(40):
        rates.observe(0, 1, False, 0.3)
    assert rates.costs(False).decode_seconds_per_step[0] == pytest.approx(0.3, rel=0.01)


def test_what_was_not_measured_is_derived_from_what_was() -> None:
    costs = measured(0.09, 0.3).costs(True)
    assert costs.slice_seconds_per_token == costs.prefill_seconds_per_token
    # Each further sequence adds 0.6 of what a step of one takes.
    assert costs.decode_seconds_per_step == pytest.approx([0.3, 0.48, 0.66, 0.84])


def test_an_unmeasured_load_is_derived_from_the_nearest_one(rates: Rates) -> None:
    rates.observe(0, 1, False, 0.3)
    rates.observe(0, 4, False, 2.8)
    # Two take 1.6 times as long as one; three take 2.2 of what four take in 2.8.
    assert rates.costs(False).decode_seconds_per_step == pytest.approx([0.3, 0.48, 2.2, 2.8])


def test_before_anything_is_measured_there_are_costs_all_the_same(rates: Rates) -> None:
    assert rates.costs(True) == Costs(0.0, 0.0, (0.0,) * PARALLEL, ROW_BLOCK)


def test_a_few_rows_say_nothing_about_how_fast_a_prompt_is_read(rates: Rates) -> None:
    rates.observe(ROW_BLOCK - 1, 0, False, 5.0)
    assert rates.costs(False).prefill_seconds_per_token == 0.0


@pytest.mark.parametrize(
    ("rows", "sequences"), [(100, 0), (0, 1), (0, 4), (32, 2)], ids=["prompt", "one", "four", "beside"]
)
def test_a_step_of_an_hour_moves_no_average_by_more_than_its_share(rows: int, sequences: int) -> None:
    rates = measured(0.09, 0.3)
    for _ in range(30):
        rates.observe(0, 4, False, 0.8)
        rates.observe(32, 2, False, 0.5 + 32 * 0.1)
    before = rates.costs(False)
    rates.observe(rows, sequences, False, HOUR)
    after = rates.costs(False)
    most = 1 + SMOOTHING * (OUTLIER - 1) + 1e-9
    numbers = [
        (before.prefill_seconds_per_token, after.prefill_seconds_per_token),
        (before.slice_seconds_per_token, after.slice_seconds_per_token),
    ]
    for old, new in [*numbers, *zip(before.decode_seconds_per_step, after.decode_seconds_per_step, strict=True)]:
        assert old <= new <= most * old


def test_a_pause_in_a_step_beside_others_never_makes_reading_cost_nothing_or_less() -> None:
    rates = measured(0.09, 0.3)
    rates.observe(0, 1, False, HOUR)
    rates.observe(16, 1, True, 0.2)
    assert 0 < rates.costs(True).slice_seconds_per_token <= 0.2 / 16


def test_the_best_costs_are_the_least_ever_while_the_latest_move_on(rates: Rates) -> None:
    for seconds in (0.5, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2):
        rates.observe(100, 0, False, 100 * seconds)
        rates.observe(0, 1, False, seconds)
        rates.observe(16, 1, True, 17 * seconds)
    best = rates.best_costs(True)
    assert best == rates.costs(True)
    for _ in range(20):
        rates.observe(100, 0, False, 90.0)
        rates.observe(0, 1, False, 0.9)
        rates.observe(16, 1, True, 16.0)
    assert (
        rates.best_costs(True).prefill_seconds_per_token
        == best.prefill_seconds_per_token
        < rates.costs(True).prefill_seconds_per_token
    )
    assert rates.best_costs(True).decode_seconds_per_step == best.decode_seconds_per_step
    assert (
        rates.best_costs(True).slice_seconds_per_token
        == best.slice_seconds_per_token
        < rates.costs(True).slice_seconds_per_token
    )


@pytest.mark.parametrize(
    ("prefill", "streams", "rows"),
    [
        # Not even the 16 rows of one block fit 0.25 s; to read efficiently takes 64.
        (0.2, True, [15, 14, 13, 12]),
        (0.2, False, [63, 62, 61, 60]),
        (0.092, True, [15, 14, 13, 12]),
        (0.092, False, [63, 62, 61, 60]),
        # Beside one 22 rows fit 0.25 s, and 297 fit 3 s: one block and 18 blocks, less the row of the one that decodes.
        (0.01, True, [15, 14, 13, 12]),
        (0.01, False, [287, 286, 285, 284]),
        # 80 rows beside one, 78 beside two, 76 beside three, 74 beside four: 5, 5, 4 and 4 blocks.
        (0.003, True, [79, 78, 61, 60]),
        (0.003, False, [991, 990, 989, 988]),
        # 997 rows beside one, 11,997 in 3 s: 62 and 749 blocks.
        (0.00025, True, [991, 990, 989, 988]),
        (0.00025, False, [11983, 11982, 11981, 11980]),
    ],
)
def test_a_slice_has_as_many_whole_blocks_as_fit_its_time(prefill: float, streams: bool, rows: list[int]) -> None:
    rates = measured(prefill, 3 * prefill)
    assert [rates.slice_rows(sequences, streams) for sequences in (1, 2, 3, 4)] == rows


@given(st.floats(1e-5, 1), st.floats(1e-4, 3), st.integers(1, PARALLEL))
def test_a_slice_with_someone_reading_along_keeps_to_its_time_and_fills_it(
    prefill: float, decode: float, sequences: int
) -> None:
    rates = measured(prefill, decode)
    rows = rates.slice_rows(sequences, True)
    taken = rates.costs(True).decode_seconds_per_step[sequences - 1] + rows * prefill
    assert rows > 0
    # Where not even a few rows fit, it is one block.
    assert taken <= SLICE_SECONDS + ROUNDING or rows + sequences == ROW_BLOCK
    # One block more would be too much.
    assert taken + ROW_BLOCK * prefill > SLICE_SECONDS - ROUNDING


@given(st.floats(1e-5, 1), st.floats(1e-4, 3), st.integers(1, PARALLEL))
def test_a_slice_with_nobody_reading_along_has_whole_blocks_and_enough_of_them(
    prefill: float, decode: float, sequences: int
) -> None:
    rates = measured(prefill, decode)
    rows = rates.slice_rows(sequences, False)
    taken = rates.costs(False).decode_seconds_per_step[sequences - 1] + rows * prefill
    assert (rows + sequences) % ROW_BLOCK == 0
    assert rows + sequences >= BULK_ROWS
    assert taken <= BULK_SECONDS + ROUNDING or rows + sequences == BULK_ROWS
    assert taken + ROW_BLOCK * prefill > BULK_SECONDS - ROUNDING


def test_where_a_block_takes_far_too_long_fewer_rows_are_read() -> None:
    assert measured(0.02, 0.05).slice_rows(1, True) == ROW_BLOCK - 1
    assert measured(0.04, 0.05).slice_rows(1, True) == 5
    assert measured(0.2, 0.3).slice_rows(1, True) == ROW_BLOCK - 1


def test_before_anything_is_measured_a_slice_is_one_block(rates: Rates) -> None:
    assert rates.slice_rows(1, True) == rates.slice_rows(1, False) == ROW_BLOCK


@pytest.mark.parametrize(
    ("per_row", "seconds", "rows"), [(0.005, 1.0, 192), (0.05, 1.0, 16), (0.05, 0.25, 5), (0.4, 0.25, 2)]
)
def test_a_step_for_the_sake_of_another_model_has_whole_blocks_where_they_do_not_take_far_longer(
    per_row: float, seconds: float, rows: int
) -> None:
    rates = Rates(4, 0.25)
    assert rates.rows_within(seconds) == 16
    rates.observe(64, 0, False, 64 * per_row)
    assert rates.rows_within(seconds) == rows
