"""The random states that a score might move: noted before it, put back behind it."""

import sys
from collections.abc import Callable, Mapping
from ctypes import string_at
from functools import partial
from operator import eq
from typing import Any

_BYTES = 624 * 4 + 4
"""`mt19937_state` of numpy/random/src/mt19937/mt19937.h: the 624 words of the key and the position in it."""

_Same = Callable[[Any, Any], bool]


class RandomStates:
    """The global random states, and those among an estimator's parameters, as they are now.

    `scikit_learns_only`: until `restore` nothing but the scores of scikit-learn's own estimators draws: from NumPy's generator,
    and no normal numbers, of which NumPy would keep every second one beside it.
    """

    def __init__(self, params: Mapping[str, Any], scikit_learns_only: bool = False) -> None:
        numpy: Any = sys.modules["numpy"]
        self._saved: list[tuple[Any, Callable[[], Any], Callable[[Any], object], _Same]] = []
        if scikit_learns_only and type(numpy.random.get_bit_generator()) is numpy.random.MT19937:
            self._keep(_words, _set_words, eq)
        else:
            self._keep_all(numpy)
        for value in params.values():
            if isinstance(value, numpy.random.RandomState):
                self._keep(partial(value.get_state, legacy=False), value.set_state)
            elif isinstance(value, numpy.random.Generator):
                self._keep(_getter(value.bit_generator), _setter(value.bit_generator))

    def _keep_all(self, numpy: Any) -> None:
        self._keep(partial(numpy.random.get_state, legacy=False), numpy.random.set_state)
        python: Any = sys.modules.get("random")
        if python is not None:
            self._keep(python.getstate, python.setstate, eq)
        torch: Any = sys.modules.get("torch")
        if torch is not None and hasattr(torch, "get_rng_state"):
            self._keep(torch.get_rng_state, torch.set_rng_state)

    def _keep(
        self, read: Callable[[], Any], write: Callable[[Any], object], same: "_Same | None" = None
    ) -> None:
        self._saved.append((read(), read, write, same or _same))

    def restore(self) -> bool:
        """Put every state back that has moved; whether any had."""
        moved = False
        for state, read, write, same in self._saved:
            if not same(state, read()):
                write(state)
                moved = True
        return moved


def _words() -> bytes:
    """The state of NumPy's global generator as it lies in memory. `numpy.random.get_state` makes the 624 words one by one, in 80 µs."""
    bits: Any = sys.modules["numpy"].random.get_bit_generator()
    return string_at(bits.ctypes.state_address, _BYTES)


def _set_words(words: bytes) -> None:
    numpy: Any = sys.modules["numpy"]
    state = numpy.random.get_state(legacy=False)
    key = numpy.frombuffer(words, numpy.uint32)
    numpy.random.set_state(state | {"state": {"key": key[:-1].copy(), "pos": int(key[-1])}})


def _getter(bits: Any) -> Callable[[], Any]:
    return lambda: bits.state


def _setter(bits: Any) -> Callable[[Any], object]:
    return lambda state: setattr(bits, "state", state)


def _same(one: Any, other: Any) -> bool:
    """Whether two states are equal: tuples and mappings of arrays, or one array."""
    if isinstance(one, dict):
        return all(_same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    if hasattr(one, "tobytes"):
        return bool(one.tobytes() == other.tobytes())
    if hasattr(one, "shape"):
        return bool((one == other).all())
    return bool(one == other)
