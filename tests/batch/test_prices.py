"""What --dry-run says of cost is what docs/scaling.md says."""

import pytest

from batch.prices import MB_PER_CPU, PRICES, USD_PER_GB_SECOND
from benchmarks import scaling


def test_prices_are_those_of_the_tables() -> None:
    assert (scaling.MB_PER_CPU, scaling.USD_PER_GB_SECOND) == (MB_PER_CPU, USD_PER_GB_SECOND)
    assert [model.preset for model in scaling.MODELS] == list(PRICES)
    for model in scaling.MODELS:
        price = PRICES[model.preset]
        assert price.read_cpu_seconds == pytest.approx(model.prefill * scaling.MEASURED_CPUS, rel=0.005)
        assert price.written_cpu_seconds == pytest.approx(model.decode * scaling.MEASURED_CPUS, rel=0.005)
        assert price.is_estimate == bool(model.mark)
        usd = 1000 * price.usd(scaling.ARTICLE_TOKENS, scaling.SUMMARY_TOKENS)
        assert usd == pytest.approx(model.usd_per_thousand, rel=0.005)
