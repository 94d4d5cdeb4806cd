"""What the words in a metric's name say: which value is the better one, and how much it tells."""

import re
from functools import lru_cache

_LESS = re.compile(
    r".*loss(es)?|.*err(ors?)?|.*mae|.*mse|mape|smape|msle|perplexity|ppl|nll|.*time|latency|brier|divergence|fid|wer|cer"
)
_MORE = re.compile(
    r"acc\d*|.*accuracy|.*scores?|f\d+|fbeta|.*auc|auroc|precision|recall|r2|m?iou|dice|.*bleu\d*|rouge\w*|m?ap\d*|psnr|ssim"
    r"|rewards?|returns?"
)
_NEITHER = {"norm", "grad", "grads", "gradient", "gradients", "weight", "weights", "std"}
"""A name with one of these is about something else: the norm of a gradient, the weight of a loss, the spread of a score."""
_HELD_OUT = re.compile(r"(val|valid|validation|eval|evaluation|test)\d*")
_TECHNICAL = re.compile(
    r"(time|_ms|_seconds|runtime|per_second|flos|_index)(/|$)|(^|[_/])(rank|std)_|(^|[/.])(epoch|(global_)?step|lr|learning_rate|grad_norm)$"
)


@lru_cache(maxsize=4096)
def better(key: str) -> str:
    """Which value of a metric is the better one by its name: "min", "max", or "" where it does not say."""
    words = _words(key)
    if not words.isdisjoint(_NEITHER):
        return ""
    if any(map(_LESS.fullmatch, words)) or re.search(r"(^|[_/])rank_", key.lower()):
        return "max" if "neg" in words else "min"  # scikit-learn's scorers: neg_mean_squared_error
    return "max" if any(map(_MORE.fullmatch, words)) or "samples_per_second" in key else ""


def technical(key: str) -> bool:
    """Whether a metric is about the training, not about the model: clocks, counters, schedules."""
    return _TECHNICAL.search(key) is not None


def interest(key: str) -> tuple[bool, int, str]:
    """What sorts metrics by how much they tell: validation and scores first, clocks and schedules late, ours last."""
    ours = key.startswith("auto/")
    if technical(key):
        return ours, 2, key
    return ours, -any(map(_HELD_OUT.fullmatch, _words(key))) - bool(better(key)), key


def _words(key: str) -> set[str]:
    """The words of a name, without regard to capitals: what stands between other characters, and `val` and `Loss` of `valLoss`."""
    parts = re.findall(r"[^\W_]+", key)
    pieces = [piece for part in parts for piece in re.split(r"(?<=[a-z0-9])(?=[A-Z])", part)]
    return {word.lower() for word in [*parts, *pieces]}
