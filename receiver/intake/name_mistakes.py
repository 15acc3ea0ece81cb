"""Mistakes in the names of metrics.json, with the right spelling.

In: one entry's text. Out: why the entry is invalid (`impossible`), or probably selects nothing
(`suspicion`), and the nearest metric's name (`better`). Regular expressions, labels, exclusions
and upper case are common mistakes: they would silently select nothing, or the opposite.
"""

import difflib
import re
from collections.abc import Iterator
from functools import cache

from receiver.azure.limits import NAME_LIMIT
from receiver.triton import METRIC_NAMES

_CLASSIC = re.compile(r"[a-zA-Z_:*?][a-zA-Z0-9_:*?]*")
"""A name that every Prometheus accepts, or a glob of such names."""
_SELECTOR = re.compile(r"([a-zA-Z_:*?][\w:*?]*)\s*(\{[^{}]*\})?\s*(\[[\w:]+\])?")
"""A selector of PromQL: name, labels, window."""
_CALL = re.compile(r"(?!nv_)[a-z_]+\s*\(")
"""A function of PromQL."""
_ANY = re.compile(r"(?:\.|\\[wWdDsS]|\[[^\]]*\])[*+]\??")
"""The wildcards of a regular expression."""
_BARE_REGEX = re.compile(r"(?:^|[_:])\.[*+]|^nv_.*\.[*+?]")
"""A regular expression's dot before `*` or `+`: `nv_gpu_.*`, `.*_irate`. `http.server.*` is a
glob of dotted names, as in Prometheus 3."""

_NO_NOT = "metrics.json says what is sent and has no exclusions; take it out, and name what you want instead"
_NO_REGEX = "an entry is a name or a glob with * and ?, not a regular expression"


def impossible(name: str) -> str:
    """Return why a name is invalid; empty if it is valid."""
    if not name.strip():
        return "a name is empty"
    if name != name.strip():
        return "a name has white space around it"
    if name[0] in "!-":
        return _NO_NOT
    if _is_regex(name):
        return _NO_REGEX
    if character := re.search(r"[\x00-\x1f\x7f{}\"',;()\[\]=|\\]", name):
        return f"no metric's name contains {character[0]!r}; {_instead(name, character[0])}"
    if character := re.search(r"[\ud800-\udfff]", name):
        escaped = character[0].encode("unicode_escape").decode()
        return f"{escaped} is half a character, which no name can contain"
    if len(name) > NAME_LIMIT:
        return f"a name of {len(name)} characters; Application Insights takes {NAME_LIMIT}"
    return ""


def _is_regex(name: str) -> bool:
    if re.search(r'[{}"=]', name) or _CALL.match(name):  # PromQL, which may hold an expression
        return False
    anchored = name.startswith("^") or name.endswith("$") or re.fullmatch("/.+/", name)
    return bool(anchored or "\\" in name or "|" in name or _BARE_REGEX.search(name))


def _instead(name: str, sign: str) -> str:
    if sign == "(":
        return "an expression has no place here; name the metric, or the series that a recording rule makes of it"
    if sign in "[{" and not _SELECTOR.fullmatch(name):
        return "a glob has only * and ?; write one entry for each name"
    if sign in ",;":
        return "write one entry for each name"
    return "give the bare name, without labels"


def suspicion(name: str) -> str:
    """Return why a valid entry probably selects nothing; empty otherwise."""
    if not _CLASSIC.fullmatch(name):
        return f'"{name}" can only be a name of Prometheus 3 or newer{did_you_mean(name)}'
    if _fits_triton(name):
        return ""
    if f"{name}_bucket" in METRIC_NAMES:
        return f'"{name}" is a histogram, whose series are {name}_bucket, _sum and _count; did you mean "{name}_*"?'
    if _is_glob(name):
        near = _nearest_glob(name)
        return f'"{name}" fits no metric of Triton; did you mean "{near}"?' if near else ""
    near = _nearest(name)
    if near == name.lower():
        return f'"{name}": names are case-sensitive; did you mean "{near}"?'
    return f'"{name}" is no metric of Triton; did you mean "{near}"?' if near else ""


def did_you_mean(name: str) -> str:
    """Return the nearest right spelling as the end of a message; empty if none is near."""
    suggestion = better(name)
    return f'; did you mean "{suggestion}"?' if suggestion and suggestion != name else ""


def better(name: str) -> str:
    """Return the probable intention of a wrong name: a metric, or a valid spelling of the selection."""
    if name[:1] in {"!", "-"}:
        return ""  # the right spelling would select the opposite
    return next(_candidates(name.strip()), "")


def _candidates(name: str) -> Iterator[str]:
    for word in re.findall(r"nv_\w+", name):  # the metric within an expression
        if "(" in name and f"{word}_irate" in METRIC_NAMES:
            yield f"{word}_irate"
        if word in METRIC_NAMES and not _is_glob(name):
            yield word
    if glob := _glob_of(name):
        yield glob
    if selector := _SELECTOR.fullmatch(name):
        bare = selector[1]
        if near := bare if _fits_triton(bare) else _nearest(bare):
            yield near
        if not bare.startswith("nv"):
            yield bare
    words = re.sub(r"[^a-zA-Z0-9_:*?]+", "_", name).strip("_")
    if near := _nearest(words):
        yield near


def _glob_of(name: str) -> str:
    """Return the glob that selects the same as a regular expression; empty if there is none."""
    if not _is_regex(name):
        return ""
    plain = name.strip("/").removeprefix("^").removesuffix("$")
    glob = re.sub(r"\*+", "*", _ANY.sub("*", plain)).replace("\\.", ".")
    return glob if re.fullmatch(r"[a-zA-Z_:*?][\w:*?]*", glob) else ""


def _is_glob(name: str) -> bool:
    return "*" in name or "?" in name


def _fits_triton(name: str) -> bool:
    """Whether a name or a glob selects a metric of Triton or of the recording rules."""
    if not _is_glob(name):
        return name in METRIC_NAMES
    pattern = "".join({"*": ".*", "?": "."}.get(c) or re.escape(c) for c in re.sub(r"\*+", "*", name))  # fmt: skip
    return any(re.fullmatch(pattern, metric) for metric in METRIC_NAMES)


def _nearest(name: str) -> str:
    lower = name.lower()
    if lower in METRIC_NAMES:
        return lower
    return next(iter(difflib.get_close_matches(lower, METRIC_NAMES, n=1, cutoff=0.9)), "")


def _nearest_glob(glob: str) -> str:
    """Correct the part of a glob before its first wildcard, which is the start of names."""
    start = glob[: min(glob.find(sign) for sign in "*?" if sign in glob)]
    for beginning in difflib.get_close_matches(start.lower(), _beginnings(), n=3, cutoff=0.85):
        if _fits_triton(corrected := beginning + glob[len(start) :].lower()):
            return corrected
    return ""


@cache
def _beginnings() -> tuple[str, ...]:
    prefixes = {
        name[: index + 1] for name in METRIC_NAMES for index, c in enumerate(name) if c == "_"
    }
    return tuple(sorted(prefixes - {"nv_"}))
