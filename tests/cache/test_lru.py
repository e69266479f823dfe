"""ByteLRU: sums and order."""

from __future__ import annotations

from llamahttp.cache.lru import ByteLRU


def test_the_longest_unused_comes_first() -> None:
    lru: ByteLRU[str] = ByteLRU(100)
    for item in "abc":
        lru.put(item, 10)
    lru.touch("a")
    lru.put("b", 20)
    lru.touch("nobody")
    assert list(lru) == ["c", "a", "b"]
    assert lru.used == 40 and lru.size("b") == 20 and lru.size("nobody") == 0


def test_items_can_be_dropped_while_they_are_listed() -> None:
    lru: ByteLRU[str] = ByteLRU(None)
    for item in "abc":
        lru.put(item, 10)
    for item in lru:
        lru.drop(item)
        lru.drop(item)
    assert lru.used == 0 and "a" not in lru


def test_fits_up_to_the_limit() -> None:
    lru: ByteLRU[str] = ByteLRU(100)
    lru.put("a", 60)
    assert lru.fits(40) and not lru.fits(41)
    assert ByteLRU[str](None).fits(1 << 60)
