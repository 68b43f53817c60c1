from common import memory


def test_what_was_freed_is_given_back() -> None:
    before = memory.resident_bytes()
    # Small pieces with others between them: malloc keeps such memory by itself.
    pieces = [bytes(2000) for _ in range(60_000)]
    kept = pieces[::500]
    full = memory.resident_bytes()
    assert full > before + 80_000_000
    del pieces
    assert memory.give_back()
    assert memory.resident_bytes() < before + 40_000_000
    assert len(kept) == 120
