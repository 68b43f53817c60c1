"""What a token of a priced preset costs on AWS Lambda. benchmarks/scaling.py has the sources; a test compares."""

from dataclasses import dataclass

MB_PER_CPU = 1769
USD_PER_GB_SECOND = 0.0000166667


@dataclass(frozen=True)
class Price:
    """CPU seconds of a token that is read and of one that is written; `is_estimate`: it was not measured."""

    read_cpu_seconds: float
    written_cpu_seconds: float
    is_estimate: bool = False

    def usd(self, read: int, written: int) -> float:
        seconds = read * self.read_cpu_seconds + written * self.written_cpu_seconds
        return seconds * MB_PER_CPU / 1024 * USD_PER_GB_SECOND


PRICES = {
    "llama-3.2-1b": Price(0.0264, 0.122),
    "llama-3.2-3b": Price(0.0667, 0.266, is_estimate=True),
    "llama-3-8b": Price(0.1626, 0.61),
}
