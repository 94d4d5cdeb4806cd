"""The patcher: what stands in a class or module while it is live, and what is left when it is not."""

import functools
import gc
import inspect
import pickle
import sys
import types
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest

from autotrack.errors import AutotrackWarning
from autotrack.guard import STRICT
from autotrack.patcher import Call, Patcher, patched


class Base:
    """What other people's classes look like."""

    def work(self, number: int, *, factor: int = 2) -> int:
        """Multiply."""
        if number < 0:
            raise ValueError("negative")
        return number * factor

    @staticmethod
    def fixed(number: int) -> int:
        return number + 1

    @classmethod
    def named(cls) -> str:
        return cls.__name__

    @property
    def size(self) -> int:
        return 3


class Derived(Base):
    pass


def double(number: int) -> int:
    """Module-level, so that it can be pickled."""
    return 2 * number


def observed(owner: Any, name: str, patcher: Patcher, portable: bool = False) -> list[Call]:
    calls: list[Call] = []
    patcher.observe(owner, name, lambda _: calls.append, portable=portable)
    return calls


@pytest.mark.parametrize("portable", [False, True])
def test_an_observed_method_keeps_its_looks_and_its_results(portable: bool) -> None:
    pickle.dumps(Base())  # pickle notes something in the class
    before = dict(vars(Base))
    original = Base.work
    patcher = Patcher()
    calls = observed(Base, "work", patcher, portable)
    assert Derived().work(4, factor=3) == 12
    assert [call.result for call in calls] == [12]
    assert calls[0].kwargs == {"factor": 3}
    assert inspect.isfunction(Base.work)
    assert (Base.work.__name__, Base.work.__qualname__, Base.work.__doc__) == (
        "work",
        "Base.work",
        "Multiply.",
    )
    assert inspect.signature(Base.work) == inspect.signature(original)
    assert pickle.loads(pickle.dumps(Base().work))(2) == 4
    patcher.restore()
    assert dict(vars(Base)) == before
    assert Base.__dict__["work"] is original
    assert Base().work(2) == 4
    assert len(calls) == 2  # the unpickled bound method was observed, the one after restore() was not


def test_the_users_exception_arrives_as_it_was_raised() -> None:
    patcher = Patcher()
    seen: list[BaseException | None] = []
    patcher.observe(Base, "work", lambda _: lambda call: seen.append(call.error))
    with pytest.raises(ValueError, match="negative") as caught:
        Base().work(-1)
    assert seen == [caught.value]
    assert caught.value.__context__ is None
    patcher.restore()


def test_our_errors_before_and_behind_a_call_never_reach_it() -> None:
    ran: list[int] = []

    class Target:
        def go(self, value: int) -> int:
            ran.append(value)
            return value

    def fails_before(call: Call) -> None:
        call.args = ()
        raise RuntimeError("before")

    def fails_behind(call: Call) -> None:
        call.result = None
        raise RuntimeError("behind")

    strict, STRICT["on"] = STRICT["on"], False
    try:
        for begin in (fails_before, lambda _: fails_behind):
            patcher = Patcher()
            patcher.observe(Target, "go", begin)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AutotrackWarning)
                assert Target().go(7) == 7
            patcher.restore()
    finally:
        STRICT["on"] = strict
    assert ran == [7, 7]


def test_begin_may_give_the_call_other_arguments() -> None:
    patcher = Patcher()

    def begin(call: Call) -> None:
        call.kwargs["factor"] = 10

    patcher.observe(Base, "work", begin)
    given = {"factor": 3}
    assert Base().work(1, **given) == 10
    assert given == {"factor": 3}
    patcher.restore()


def test_warnings_with_a_stack_level_still_name_the_users_line() -> None:
    class Target:
        def go(self) -> None:
            warnings.warn("old", DeprecationWarning, stacklevel=2)

    def where() -> tuple[str, int]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            Target().go()
        return caught[0].filename, caught[0].lineno

    plain = where()
    for portable in (False, True):
        patcher = Patcher()
        observed(Target, "go", patcher, portable)
        assert where() == plain
        patcher.restore()


def test_a_listener_hears_results_and_changes_nothing() -> None:
    heard: list[tuple[tuple[object, ...], dict[str, object], object]] = []
    before = vars(Base)["work"]
    for portable in (False, True):
        patcher = Patcher()
        patcher.listen(
            Base, "work", lambda args, kwargs, result: heard.append((args[1:], kwargs, result)), portable
        )
        assert Base().work(2, factor=3) == before(Base(), 2, factor=3)
        assert heard.pop() == ((2,), {"factor": 3}, before(Base(), 2, factor=3))
        patcher.restore()
        assert vars(Base)["work"] is before


def test_a_listener_is_silent_on_errors_and_its_own_reach_nobody() -> None:
    class Target:
        def go(self, fail: bool) -> int:
            if fail:
                raise ValueError("of the user")
            return 1

    def hear(args: object, kwargs: object, result: object) -> None:
        raise RuntimeError("of ours")

    patcher = Patcher()
    patcher.listen(Target, "go", hear)
    with pytest.raises(ValueError, match="of the user") as caught:
        Target().go(fail=True)
    assert [entry.name for entry in caught.traceback][1:] == ["go"]
    STRICT["on"] = False
    with pytest.warns(AutotrackWarning, match="of ours"):
        assert Target().go(fail=False) == 1
    patcher.restore()


def test_static_methods_class_methods_and_properties_come_back_as_they_were() -> None:
    before = dict(vars(Base))
    patcher = Patcher()
    patcher.replace(Base, "fixed", lambda f: lambda number: f(number) * 100)
    patcher.replace(Base, "named", lambda f: lambda cls: f(cls).lower())
    patcher.replace(Base, "size", lambda p: property(lambda self: p.fget(self) + 1))
    assert (Base.fixed(1), Derived().fixed(1)) == (200, 200)
    assert (Base.named(), Derived.named()) == ("base", "derived")
    assert Base().size == 4
    assert isinstance(vars(Base)["fixed"], staticmethod)
    patcher.restore()
    assert all(vars(Base)[name] is value for name, value in before.items())


def test_an_inherited_attribute_is_deleted_again() -> None:
    patcher = Patcher()
    calls = observed(Derived, "work", patcher)
    assert Derived().work(3) == 6
    assert Base().work(3) == 6
    assert len(calls) == 1
    patcher.restore()
    assert "work" not in vars(Derived)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        Patcher().replace(Derived, "nothing", lambda original: original)


def test_twice_is_once_and_after_restore_nothing_is_replaced() -> None:
    patcher = Patcher()
    calls = observed(Base, "work", patcher)
    observed(Base, "work", patcher)
    assert Base().work(1) == 2
    assert len(calls) == 1
    patcher.restore()
    patcher.restore()
    original = vars(Base)["work"]
    observed(Base, "work", patcher)
    patcher.replace_functions(sys.modules[__name__], {"double": lambda original: print})
    assert vars(Base)["work"] is original
    assert double(1) == 2


def test_a_wrapper_that_somebody_else_put_over_ours_stays_and_ours_goes_inert() -> None:
    class Target:
        def go(self) -> str:
            return "original"

    patcher = Patcher()
    calls = observed(Target, "go", patcher)
    ours = Target.go

    @functools.wraps(ours)
    def theirs(self: Target) -> str:
        return "theirs over " + ours(self)

    type.__setattr__(Target, "go", theirs)
    assert Target().go() == "theirs over original"
    assert len(calls) == 1
    patcher.restore()
    assert Target.go is theirs
    assert Target().go() == "theirs over original"
    assert len(calls) == 1
    assert not patched(theirs)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_patchers_over_each_other_leave_the_original_in_either_order(order: tuple[int, int]) -> None:
    original = vars(Base)["work"]
    patchers = [Patcher(), Patcher()]
    calls = [observed(Base, "work", patcher) for patcher in patchers]
    assert Base().work(2) == 4
    assert [len(each) for each in calls] == [1, 1]
    patchers[order[0]].restore()
    assert Base().work(2) == 4
    assert len(calls[order[0]]) == 1
    assert len(calls[order[1]]) == 2
    patchers[order[1]].restore()
    assert vars(Base)["work"] is original


def test_a_module_function_is_replaced_wherever_it_stands_and_pickles_by_reference() -> None:
    here = sys.modules[__name__]
    original = double
    early = types.ModuleType("patched_early")
    early.__dict__["alias"] = double
    sys.modules["patched_early"] = early
    patcher = Patcher()
    calls = observed(here, "double", patcher)
    try:
        late = types.ModuleType("patched_late")
        late.__dict__["also"] = here.__dict__["double"]
        sys.modules["patched_late"] = late
        assert early.alias(1) == late.also(1) == 2
        assert len(calls) == 2
        assert pickle.loads(pickle.dumps(early.alias)) is here.__dict__["double"]
    finally:
        patcher.restore()
        del sys.modules["patched_early"], sys.modules["patched_late"]
    assert early.alias is late.also is here.__dict__["double"] is original


def test_a_class_of_a_script_is_pickled_by_value_with_its_original_method() -> None:
    def build() -> type:
        class Mine:
            def go(self) -> str:
                return "mine"

        return Mine

    cls = build()
    patcher = Patcher()
    observed(cls, "go", patcher, portable=True)
    data = cloudpickle.dumps(cls)
    assert b"autotrack.patcher" not in data
    copy = pickle.loads(data)
    assert copy().go() == "mine"
    assert not hasattr(copy.go, "__wrapped__")
    patcher.restore()


def test_the_fn_of_a_descriptor_can_be_replaced_and_comes_back() -> None:
    class Gate:
        def __init__(self, fn: Callable[..., Any]) -> None:
            self.fn = fn

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            return types.MethodType(self.fn, instance)

    class Target:
        @Gate
        def go(self) -> int:
            return 5

    gate = vars(Target)["go"]
    original = gate.fn
    patcher = Patcher()
    calls = observed(gate, "fn", patcher, portable=True)
    assert Target().go() == 5
    assert len(calls) == 1
    patcher.restore()
    assert gate.fn is original


def test_a_class_that_nobody_needs_is_not_kept_alive() -> None:
    patcher = Patcher()

    class Short:
        def go(self) -> object:
            return super().__repr__()

    observed(Short, "go", patcher, portable=True)
    watch = weakref.ref(Short)
    del Short
    gc.collect()
    assert watch() is None
    patcher.restore()


def test_an_observed_call_costs_microseconds() -> None:
    from time import process_time

    class Target:
        def go(self) -> None:
            return None

    def cost() -> float:
        target, best = Target(), 1.0
        for _ in range(20):
            started = process_time()
            for _ in range(1000):
                target.go()
            best = min(best, (process_time() - started) / 1000)
        return best

    plain = cost()
    patcher = Patcher()
    patcher.observe(Target, "go", lambda _: None, portable=True)
    assert cost() - plain < 20e-6
    patcher.restore()
