"""Searches and cross-validations: candidates become child runs, folds rows of a table."""

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from autotrack.guard import reason
from autotrack.integrations import _sklearn_facts as facts
from autotrack.integrations._sklearn_score import quiet
from autotrack.late import report

if TYPE_CHECKING:
    from autotrack.patcher import Call
    from autotrack.run import Run

CANDIDATES = 10_000
"""So many candidates become child runs; all of them are in the table."""


def is_search(estimator: Any) -> bool:
    """Whether it is a search over parameters: built on scikit-learn's `BaseSearchCV`."""
    return hasattr(type(estimator), "_run_search")


def fits_others(estimator: Any) -> bool:
    """Whether it fits copies of other estimators: a search, an ensemble, one model for each class or output."""
    return is_search(estimator) or isinstance(estimator, sys.modules["sklearn.base"].MetaEstimatorMixin)


def record_search(run: "Run", search: Any) -> dict[str, Any]:
    """Record `cv_results_` as a table and each candidate as a child run; the best one's values, for the caller to log."""
    results = getattr(search, "cv_results_", None)
    if not isinstance(results, Mapping) or "params" not in results:
        return {}
    best = _best(run, search)
    columns = {str(key): _cells(column) for key, column in results.items() if key != "params"}
    run.log_table("cv_results", {"params": _cells(results["params"]), **columns})
    for place, params in enumerate(results["params"][:CANDIDATES]):
        _record_candidate(run, place, params, columns)
    left_out = len(results["params"]) - CANDIDATES
    if left_out > 0:
        why = f"{left_out} candidates after the first {CANDIDATES} are in the table cv_results only"
        report(run, "search candidates", "skipped", why)
    return best


def _best(run: "Run", search: Any) -> dict[str, Any]:
    best = {name: getattr(search, f"best_{name}_", None) for name in ("score", "index", "params")}
    values = {"best_score": best["score"], "best_index": best["index"]}
    times = {"auto/refit_time": getattr(search, "refit_time_", None)}
    if best["params"] is not None:
        params = {str(key): facts.simple(value) for key, value in best["params"].items()}
        run.update_config({"best_params": params}, source="sklearn")
    return {key: value for key, value in (values | times).items() if facts.is_number(value)}


def _record_candidate(
    run: "Run", place: int, params: Mapping[str, Any], columns: dict[str, list[Any]]
) -> None:
    values = {
        key: column[place]
        for key, column in columns.items()
        if key.startswith(("mean_", "std_", "rank_")) or key in ("iter", "n_resources")
    }
    config = {"params": {str(key): facts.simple(value) for key, value in params.items()}}
    child = run.child(f"candidate {place}", config, framework="sklearn")
    child.log({key: value for key, value in values.items() if facts.is_number(value)}, step=0)
    child.finish(wait=False)


class CrossValidation:
    """One call of `cross_validate`, `cross_val_score` and so on, made outside of any other."""

    def __init__(self, name: str, call: "Call") -> None:
        self.name = name
        positional = dict(zip(("estimator", "X", "y"), call.args, strict=False))
        self._given: dict[str, Any] = positional | call.kwargs
        if name == "validation_curve":
            self._given |= dict(zip(("param_name", "param_range"), call.args[3:], strict=False))
        self._folds: Mapping[str, Any] | None = None
        self.title = f"{name}({type(self._given.get('estimator')).__name__})"

    def config(self) -> dict[str, Any]:
        """What is known before the call."""
        given = self._given
        estimator: Any = given.get("estimator")
        params, _ = reason(facts.params, estimator)
        settings = {
            key: facts.simple(given[key])
            for key in ("cv", "scoring", "param_name", "param_range", "train_sizes", "n_permutations")
            if given.get(key) is not None
        }
        return facts.config(estimator, self.name, params or {}, given) | settings

    def take_folds(self, call: "Call") -> None:
        """`cross_validate` was called inside: what it returns has the times that `cross_val_score` drops."""
        if call.error is None and isinstance(call.result, Mapping):
            self._folds = call.result

    def record(self, run: "Run", call: "Call", seconds: float) -> None:
        """What is known after it: the folds as a table, mean and standard deviation of each column as
        metrics.
        """
        values: dict[str, Any] = {"auto/fit_time": seconds}
        if call.error is None:
            with quiet():
                values |= self._result(run, call.result)
        run.log({key: value for key, value in values.items() if facts.is_number(value)})

    def _result(self, run: "Run", result: Any) -> dict[str, Any]:
        given, self._given = self._given, {}
        readers: dict[str, Callable[[], dict[str, Any]]] = {
            "cross_validate": lambda: _folds(run, result),
            "cross_val_score": lambda: _folds(run, self._folds or {"test_score": result}),
            "learning_curve": lambda: _curve(run, "train_size", result[0], result[1:]),
            "validation_curve": lambda: _curve(run, str(given["param_name"]), given["param_range"], result),
            "permutation_test_score": lambda: _permutations(run, result),
        }
        return readers[self.name]() if self.name in readers else {}


def _folds(run: "Run", result: Mapping[str, Any]) -> dict[str, Any]:
    columns = {
        key: column for key, column in result.items() if key.startswith(("test_", "train_", "fit_", "score_"))
    }
    rows = {key: _cells(column) for key, column in columns.items()}
    run.log_table("folds", {"fold": list(range(len(next(iter(rows.values()), [])))), **rows})
    return {
        f"{what}_{key}": getattr(column, what)()
        for key, column in columns.items()
        for what in ("mean", "std")
    }


def _curve(run: "Run", name: str, points: Any, result: Any) -> dict[str, Any]:
    """`points` on the horizontal axis; `result`: training and test scores, then fit and score times, points x
    folds.
    """
    columns = dict(zip(("train_score", "test_score", "fit_time", "score_time"), result, strict=False))
    at = [facts.simple(point) for point in _cells(points)]
    folds = columns["test_score"].shape[1]
    table: dict[str, list[Any]] = {
        name: [point for point in at for _ in range(folds)],
        "fold": [fold for _ in at for fold in range(folds)],
    }
    run.log_table("folds", table | {key: column.ravel().tolist() for key, column in columns.items()})
    for step in range(len(at)):
        row = {f"mean_{key}": float(column[step].mean()) for key, column in columns.items()}
        run.log(row | ({name: at[step]} if facts.is_number(at[step]) else {}), step=step)
    return {}


def _permutations(run: "Run", result: Any) -> dict[str, Any]:
    score, permuted, pvalue = result
    run.log_table("permutations", {"score": _cells(permuted)})
    return {"score": float(score), "pvalue": float(pvalue), "mean_permutation_score": float(permuted.mean())}


def _cells(column: Any) -> list[Any]:
    """A column as Python values: masked ones None, estimators and functions by name."""
    values = column.tolist() if hasattr(column, "tolist") else list(column)
    return [value if type(value) in facts.PLAIN else facts.simple(value) for value in values]
