import pytest

from functions.summarize.planning import Costs
from functions.summarize.rates import BULK_ROWS, BULK_SECONDS, FURTHER_SEQUENCE, OUTLIER, ROW_BLOCK, SMOOTHING, Rates

PARALLEL = 4
SLICE_SECONDS = 0.25
HOUR = 3600.0


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
    assert rates.costs(False).decode_seconds_per_step[0] == pytest.approx(1 + SMOOTHING)


def test_a_host_that_slows_down_for_good_is_believed(rates: Rates) -> None:
    rates.observe(0, 1, False, 0.1)
    for _ in range(40):
        rates.observe(0, 1, False, 0.3)
    assert rates.costs(False).decode_seconds_per_step[0] == pytest.approx(0.3, rel=0.01)


def test_what_was_not_measured_is_derived_from_what_was() -> None:
    costs = measured(0.09, 0.3).costs(True)
    assert costs.slice_seconds_per_token == costs.prefill_seconds_per_token
    assert costs.decode_seconds_per_step == pytest.approx(
        [0.3 * (1 + FURTHER_SEQUENCE * further) for further in range(PARALLEL)]
    )


def test_an_unmeasured_load_is_derived_from_the_nearest_one(rates: Rates) -> None:
    rates.observe(0, 1, False, 0.3)
    rates.observe(0, 4, False, 2.8)
    one, two, three, four = rates.costs(False).decode_seconds_per_step
    assert (one, four) == (0.3, 2.8)
    assert two == pytest.approx(0.3 * (1 + FURTHER_SEQUENCE))
    assert three == pytest.approx(2.8 * (1 + 2 * FURTHER_SEQUENCE) / (1 + 3 * FURTHER_SEQUENCE))


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


@pytest.mark.parametrize("sequences", range(1, PARALLEL + 1))
@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("prefill", [0.2, 0.092, 0.01, 0.003, 0.0002])
def test_a_slice_keeps_to_its_time_and_fills_blocks_of_rows(sequences: int, streams: bool, prefill: float) -> None:
    rates = measured(prefill, 3 * prefill)
    rows = rates.slice_rows(sequences, streams)
    seconds, least = (SLICE_SECONDS, ROW_BLOCK) if streams else (BULK_SECONDS, BULK_ROWS)
    assert rows > 0
    assert (rows + sequences) % ROW_BLOCK == 0
    assert rows + sequences >= least
    step = rates.costs(streams).decode_seconds_per_step[sequences - 1]
    taken = step + rows * prefill
    assert taken <= seconds or rows + sequences == least
    # One block more would be too much.
    assert taken + ROW_BLOCK * prefill > seconds


def test_where_a_block_takes_far_too_long_fewer_rows_are_read() -> None:
    assert measured(0.02, 0.05).slice_rows(1, True) == ROW_BLOCK - 1
    assert measured(0.04, 0.05).slice_rows(1, True) == 5
    assert measured(0.2, 0.3).slice_rows(1, True) == ROW_BLOCK - 1


def test_before_anything_is_measured_a_slice_is_one_block(rates: Rates) -> None:
    assert rates.slice_rows(1, True) == rates.slice_rows(1, False) == ROW_BLOCK
