"""The windows of an expression, as Prometheus parses it."""

import pytest

from receiver.cli.prometheus.promql import RangeCall, range_calls, range_calls_in, seconds


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("irate(nv_a[1m])", [RangeCall("irate", "nv_a", 60)]),
        ('irate(nv_a{model=~"[abc]"}[3m])', [RangeCall("irate", "nv_a", 180)]),
        ("irate(nv_a{model=~'x[5s]',job=\"triton\"}[3m])", [RangeCall("irate", "nv_a", 180, "triton")]),
        ("rate(nv_a[1m]) / ignoring(x) (rate(nv_b [ 2m ]) > 0)", [RangeCall("rate", "nv_a", 60), RangeCall("rate", "nv_b", 120)]),
        ("sum by (model) (irate(nv_a[1m] offset 5m))", [RangeCall("irate", "nv_a", 60)]),
        ("max_over_time(nv_a[5m])", [RangeCall("max_over_time", "nv_a", 300)]),
        ("nv_a # irate(nv_b[1m])\n+ nv_c", []),
        ("max_over_time(rate(nv_a[1m])[5m:30s])", [RangeCall("rate", "nv_a", 60)]),
        ('rate({"nv.a",job="j"}[1m])', [RangeCall("rate", "", 60, "j")]),
        (r'irate(nv_a{m="\"[1s]"}[1h30m])', [RangeCall("irate", "nv_a", 5400)]),
        ("irate(nv_a[", []),
        ("", []),
    ],
)  # fmt: skip
def test_windows_are_found_and_nothing_else(expression: str, found: list[RangeCall]) -> None:
    """Texts, comments and subqueries are no windows."""
    assert range_calls(expression) == found


def test_prometheus_own_tree_says_the_same() -> None:
    """As /api/v1/parse_query of 3.5 answers for irate(nv_x{m=~"[abc]",job="j"}[3m]) > 0."""
    matchers = [{"name": "m", "type": "=~", "value": "[abc]"}, {"name": "job", "type": "=", "value": "j"}, {"name": "__name__", "type": "=", "value": "nv_x"}]  # fmt: skip
    selector = {"matchers": matchers, "name": "nv_x", "offset": 0, "range": 180000, "type": "matrixSelector"}  # fmt: skip
    call = {"args": [selector], "func": {"name": "irate", "argTypes": ["matrix"]}, "type": "call"}
    tree = {"type": "binaryExpr", "op": ">", "lhs": call, "rhs": {"type": "numberLiteral", "val": "0"}}  # fmt: skip
    assert range_calls_in(tree) == [RangeCall("irate", "nv_x", 180, "j")]
    assert range_calls_in(tree) == range_calls('irate(nv_x{m=~"[abc]",job="j"}[3m]) > 0')


@pytest.mark.parametrize(
    ("text", "value"),
    [("15s", 15), ("1m", 60), ("1h30m", 5400), ("500ms", 0.5), ("1d", 86400), ("1w", 604800), ("90", 90), ("abc", 0), ("", 0), ("5x", 0), ("1m1h", 0), ("5m+1m", 0)],
)  # fmt: skip
def test_durations(text: str, value: float) -> None:
    """As Prometheus writes them; what is none is 0."""
    assert seconds(text) == value
