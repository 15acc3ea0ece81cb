"""What the pages are asked for."""

import pytest
from aiohttp import web

from receiver.status.pages import MATCH_LIMIT, matcher


def test_a_match_is_a_glob_or_words() -> None:
    """Of any case."""
    assert matcher("NV_*_irate")("nv_a_irate")
    assert not matcher("nv_?")("nv_ab")
    assert matcher("gpu power")("nv_gpu_power_usage")
    assert not matcher("gpu power")("nv_gpu_memory")


def test_a_match_is_short() -> None:
    """One of thousands of stars would hold everything else up while it is compiled."""
    assert matcher("*a" * (MATCH_LIMIT // 2))("aaa") is False
    with pytest.raises(web.HTTPBadRequest):
        matcher("*a" * MATCH_LIMIT)
