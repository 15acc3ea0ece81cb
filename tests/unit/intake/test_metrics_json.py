"""metrics.json selects the right names, and says what is wrong with it, and where."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.azure.limits import NAME_LIMIT
from receiver.errors import SettingsError
from receiver.intake.metrics_json import Allowlist, Entry, parse
from receiver.intake.name_mistakes import better

FILE = "conf/metrics.json"


def names(*entries: str) -> Allowlist:
    """Parse a metrics.json that lists these."""
    return parse(json.dumps({"customMetrics": entries}), FILE)


def refusal(text: str | bytes) -> str:
    """Return the message with which a metrics.json is refused."""
    with pytest.raises(SettingsError) as refused:
        parse(text, FILE)
    return str(refused.value)


def test_a_name_selects_exactly_that_name() -> None:
    """Neither a prefix nor a longer name, nor another case, is meant."""
    wanted = names("nv_cpu_utilization")

    assert wanted.wants(b"nv_cpu_utilization")
    assert not wanted.wants(b"nv_cpu_utilization_irate")
    assert not wanted.wants(b"nv_cpu")
    assert not wanted.wants(b"NV_CPU_UTILIZATION")
    assert not wanted.wants(b"")


@pytest.mark.parametrize(
    ("glob", "wanted", "unwanted"),
    [
        ("nv_gpu_*", ["nv_gpu_", "nv_gpu_power_usage"], ["nv_gpu", "xnv_gpu_a"]),
        (
            "nv_?pu_utilization",
            ["nv_cpu_utilization"],
            ["nv_pu_utilization", "nv_ccpu_utilization"],
        ),
        ("*", ["a", "a:b", "with space", "zwölf", "two\nlines"], []),
        ("*_sum*", ["x_sum", "x_sum_irate"], ["x_su_m"]),
        ("a.b*", ["a.b", "a.bc"], ["axb"]),
        ("job:x?", ["job:xy"], ["job:x", "job:xyz"]),
    ],
)
def test_a_glob_selects_by_its_two_signs_alone(
    glob: str, wanted: list[str], unwanted: list[str]
) -> None:
    """`*` is any run and `?` one character; all else stands for itself."""
    chosen = names(glob)

    assert [name for name in wanted if not chosen.wants(name.encode())] == []
    assert [name for name in unwanted if chosen.wants(name.encode())] == []


@given(
    glob=st.text("ab*?", min_size=1, max_size=8),
    name=st.text("ab", max_size=10),
)
def test_a_glob_selects_as_its_definition_says(glob: str, name: str) -> None:
    """The expression that stands for a glob agrees with the glob read sign by sign."""

    def fits(glob: str, name: str) -> bool:
        if not glob:
            return not name
        if glob[0] == "*":
            return fits(glob[1:], name) or bool(name and fits(glob, name[1:]))
        return bool(name) and glob[0] in ("?", name[0]) and fits(glob[1:], name[1:])

    assert Entry(glob).fits(name) == fits(glob, name)


def test_a_hostile_name_costs_its_length_and_no_more() -> None:
    """A sender's name of tens of thousands of characters does not stall globs of several stars."""
    wanted = names("*_*_*_*_irate", "nv_*_summary_*_irate")

    assert not wanted.wants(b"_" * 60_000)
    assert not wanted.wants(b"nv" + b"_summary" * 8_000)
    assert wanted.wants(b"nv" + b"_summary" * 8_000 + b"__irate")


def test_an_answer_is_the_same_when_it_is_remembered_and_forgotten() -> None:
    """Remembering is bounded, and changes no answer."""
    wanted = Allowlist([Entry("a*"), Entry("b")], remembered_limit=2)

    for _ in range(3):
        assert [wanted.wants(name) for name in (b"a1", b"b", b"c", b"a2")] == [
            True,
            True,
            False,
            True,
        ]
    assert len(wanted._remembered) <= 2


def test_long_names_are_not_remembered() -> None:
    """A sender cannot fill the memory with names of megabytes."""
    wanted = names("a*")

    assert wanted.wants(b"a" * 100_000)
    assert wanted.wants(b"a" * 100_000)
    assert sum(map(len, wanted._remembered)) < 10_000


def test_a_name_that_is_not_utf8_is_never_an_exact_name() -> None:
    """Broken bytes neither raise nor match."""
    assert not names("nv_count").wants(b"nv_count\xff")


def test_what_is_right_is_taken_as_it_stands() -> None:
    """Order is kept; names of Prometheus 3 are possible; bytes and a byte order mark are fine."""
    text = (
        b"\xef\xbb\xbf"
        + json.dumps({"customMetrics": ["b", "a*", "http.server.duration"]}).encode()
    )

    assert [entry.name for entry in parse(text, FILE).entries] == [
        "b",
        "a*",
        "http.server.duration",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"customMetrics": ["a",]}', f"{FILE}:1:2"),  # Python 3.13 points at the comma
        ('{\n  "customMetrics": [\n    "a"\n    "b"\n  ]\n}', f"{FILE}:4:5: not JSON"),
        ("", f"{FILE}:1:1: not JSON"),
        (b'{"customMetrics": ["\xe4"]}', f"{FILE}: not UTF-8: byte 20 is 0xe4"),
        ('{"customMetrics": ["a"]}'.encode("utf-16"), f"{FILE}: not UTF-8: byte 0 is 0xff"),
        ("[" * 100_000, f"{FILE}: not JSON"),
        (f'{{"customMetrics": [{"1" * 5000}]}}', f"{FILE}: not JSON that anyone would write"),
        (r'{"customMetrics": ["a\ud800"]}', rf'{FILE}:1: customMetrics[0], "a\ud800": \ud800 is half a character'),
        (r'{"a\ud800": ["a"]}', rf'{FILE}: unknown key "a\ud800"; the one key is "customMetrics"'),
        ('["nv_count"]', f'{FILE}: the file holds a list, not an object like {{"customMetrics"'),
        ("null", f"{FILE}: the file holds null"),
        ("3", f"{FILE}: the file holds a number"),
        ('"a"', f"{FILE}: the file holds a text"),
        ("true", f"{FILE}: the file holds true or false"),
        ("{}", f'{FILE}: the key "customMetrics" is missing'),
        ('{"customMetrics": []}', f'{FILE}: "customMetrics" is empty'),
        ('{"customMetrics": "a"}', f'{FILE}: "customMetrics" is a text, not a list'),
        ('{"customMetrics": {"a": 1}}', f'{FILE}: "customMetrics" is an object, not a list'),
        ('{"custom_metrics": ["a"]}', f'{FILE}: unknown key "custom_metrics"; did you mean "customMetrics"?'),
        ('{"CustomMetrics": ["a"]}', f'{FILE}: unknown key "CustomMetrics"; did you mean "customMetrics"?'),
        ('{"x": ["a"]}', f'{FILE}: unknown key "x"; the one key is "customMetrics"'),
        ('{"customMetrics": ["a"], "customMetrics": ["b"]}', f'{FILE}: the key "customMetrics" occurs twice'),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_says_why(text: str | bytes, said: str) -> None:
    """Each mistake of form has its own sentence, with the file and the place in front."""
    assert refusal(text).startswith(said)
    assert refusal(text).encode(), "it can be printed, logged and shown"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (7, "is a number, not a metric's name in quotes"),
        (None, "is null, not a metric's name in quotes"),
        ([], "is a list, not a metric's name in quotes"),
        (True, "is true or false, not a metric's name in quotes"),
        ("", ', "": a name is empty'),
        (" nv_cpu_utilization", ', " nv_cpu_utilization": a name has white space around it; did you mean "nv_cpu_utilization"?'),
        ("nv_inference_count{}", """, "nv_inference_count{}": no metric's name contains '{'; give the bare name, without labels; did you mean "nv_inference_count"?"""),
        ('nv_inference_cuont{model="x"}', 'did you mean "nv_inference_count"?'),
        ("my_own_metric[5m]", """contains '['; give the bare name, without labels; did you mean "my_own_metric"?"""),
        ("a\tb", r"contains '\t'"),
        ("nv_gpu_.*", 'not a regular expression; did you mean "nv_gpu_*"?'),
        (".*_irate", 'not a regular expression; did you mean "*_irate"?'),
        ("node_.+", 'not a regular expression; did you mean "node_*"?'),
        ("^nv_cpu_utilization$", 'not a regular expression; did you mean "nv_cpu_utilization"?'),
        ("/nv_gpu_.*/", 'not a regular expression; did you mean "nv_gpu_*"?'),
        (r"nv_\w+_irate", 'not a regular expression; did you mean "nv_*_irate"?'),
        ("nv_cpu_utilization|nv_gpu_utilization", "not a regular expression"),
        ("nv_[cg]pu_utilization", "a glob has only * and ?; write one entry for each name"),
        ("nv_{cpu,gpu}_utilization", "a glob has only * and ?; write one entry for each name"),
        ("nv_cpu_utilization,nv_gpu_utilization", "write one entry for each name"),
        ("!nv_cpu_*", "has no exclusions; take it out"),
        ("-nv_cpu_utilization", "has no exclusions; take it out"),
        ("rate(nv_inference_count[1m])", 'name the metric, or the series that a recording rule makes of it; did you mean "nv_inference_count_irate"?'),
        ('nv_inference_count{model=~"a|b"}', 'without labels; did you mean "nv_inference_count"?'),
        ("n" * (NAME_LIMIT + 1), f"a name of {NAME_LIMIT + 1} characters; Application Insights takes {NAME_LIMIT}"),
        ("good", ', "good": the same as customMetrics[0]; take one of them out'),
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_is_shown_with_its_line(entry: object, said: str) -> None:
    """The message names file, line and index, the entry, and the nearest right spelling."""
    text = json.dumps({"customMetrics": ["good", "x_good", entry]}, indent=2)

    message = refusal(text)

    assert message.startswith(f"{FILE}:5: customMetrics[2]")
    assert said in message
    assert len(message) < 400


def test_the_longest_name_is_taken() -> None:
    """The limit itself is not past the limit."""
    assert names("n" * NAME_LIMIT).wants(b"n" * NAME_LIMIT)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("nv_inference_requests_success", 'did you mean "nv_inference_request_success"?'),
        ("nv_cpu_utilisation", 'did you mean "nv_cpu_utilization"?'),
        ("nv_inference_request_success_rate", 'did you mean "nv_inference_request_success_irate"?'),
        ("nv_inferense_*", 'fits no metric of Triton; did you mean "nv_inference_*"?'),
        ("nv_gpus_*", 'fits no metric of Triton; did you mean "nv_gpu_*"?'),
        ("NV_GPU_*", 'fits no metric of Triton; did you mean "nv_gpu_*"?'),
        ("NV_CPU_Utilization", 'names are case-sensitive; did you mean "nv_cpu_utilization"?'),
        ("nv_inference_first_response_histogram_ms", "is a histogram, whose series are"),
        ("nv inference count", 'can only be a name of Prometheus 3 or newer; did you mean "nv_inference_count"?'),
        ("http.server.duration", '"http.server.duration" can only be a name of Prometheus 3 or newer'),
    ],
)  # fmt: skip
def test_a_name_that_looks_misspelt_is_a_suspicion(entry: str, said: str) -> None:
    """What is possible but unlikely gets a warning, with the nearest of Triton's names."""
    [suspicion] = names(entry).suspicions()

    assert said in suspicion


@pytest.mark.parametrize("entry", ["nv{}", "nv_[cg]pu", "rate(x[1m])", "a b", "a\tb", "nv", "!nv_cpu_utilization", "-nv_*", "(", "^$", "//", "a|b", "\u202e"])  # fmt: skip
def test_a_suggestion_is_a_metric_or_none_is_made(entry: str) -> None:
    """Neither a fragment of a name nor a function of PromQL, nor the opposite of what is meant."""
    assert better(entry) in {"", "x"}


@pytest.mark.parametrize("entry", ["http.server.*", "process/cpu", "dots.?", "go.*"])
def test_dotted_names_and_globs_of_them_are_no_regular_expressions(entry: str) -> None:
    """Prometheus 3 takes them, OpenTelemetry sends them."""
    assert [found.name for found in names(entry).entries] == [entry]


def test_right_names_and_foreign_names_are_no_suspicion() -> None:
    """Triton's own, recorded ones, globs and other people's metrics pass in silence."""
    wanted = names(
        "nv_inference_count",
        "nv_inference_count_irate",
        "nv_inference_request_summary_us_sum_irate",
        "nv_*_irate",
        "NODE_LOAD",
        "nv_trt_llm_*",
        "nv_my_own_total",
        "node_load1",
        "up",
    )

    assert list(wanted.suspicions()) == []
