"""The verbs of the command line as one table: names, flags, what each means.

Values only, quick to load. `receiver.cli.parser` reads a command line by it,
`receiver.cli.help_text` and docs/cli.md show it, `receiver.cli.completion` completes from it,
and `receiver.cli.main` loads the one module that does the work: its `run(given, settings,
origins)` returns the exit code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from receiver.cli.values import at_least_one, pause, scrape_interval, shards, some_seconds

PROGRAM = "appinsights-receiver"
SUMMARY = "Takes Prometheus' remote_write and delivers it to Azure Application Insights."

PROMETHEUS = "http://localhost:9090"
POD_URL = "http://appinsights-receiver-{}.appinsights-receiver-pods:9201/api/v1/write"
"""The pods' addresses by the manifests' names, from their own namespace."""
TRITON = "http://localhost:8000"
TRITON_METRICS = "http://localhost:8002/metrics"

EXIT_CODES = "Exit codes: 0 all is well, 1 something is wrong or could not be done, 2 a setting cannot be used."


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of a verb. `takes` names its value; empty for a switch.

    `environment` is a variable that stands in for it; `choices` are all that it takes.
    """

    name: str
    meaning: str
    takes: str = ""
    default: Any = None
    read: Callable[[str], Any] = str
    environment: str = ""
    choices: tuple[str, ...] = ()
    destination: str = ""

    @property
    def dest(self) -> str:
        """The attribute under which its value is given to the verb."""
        return self.destination or self.name.strip("-").replace("-", "_").replace(".", "_")


@dataclass(frozen=True, slots=True)
class Operand:
    """What may stand behind a verb without a flag."""

    name: str
    meaning: str
    default: str | None = None
    choices: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        """As the usage line shows it: in brackets where it may be left out."""
        return self.name if self.default is None else f"[{self.name}]"


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb. `settings` are those that its help shows; all others are taken too.

    None shows all settings, an empty tuple says that it takes none.
    """

    name: str
    summary: str
    description: str
    module: str
    flags: tuple[Flag, ...] = ()
    operands: tuple[Operand, ...] = ()
    settings: tuple[str, ...] | None = None
    example: str = ""
    exits: str = EXIT_CODES
    logs: bool = False

    @property
    def usage(self) -> str:
        """Its usage line."""
        return " ".join([PROGRAM, self.name, *(each.usage for each in self.operands), "[OPTION …]"])


_JSON = Flag("--json", "answer in JSON")
_JSON_LINES = Flag("--json", "one JSON object a line")
_ASKING = (
    Flag("--receiver", "address of the receiver; without it where this configuration listens", "URL", environment="RECEIVER_URL"),
    Flag("--user-file", "file with user:password for it; an address in a command line can be read by others (ps)", "FILE", environment="RECEIVER_USER_FILE"),
)  # fmt: skip
_UPSTREAM = (
    Flag("--prometheus-url", "Prometheus; '' leaves it out", "URL", PROMETHEUS, environment="RECEIVER_PROMETHEUS_URL"),
    Flag("--triton", "Triton's HTTP port; '' leaves it out", "URL", TRITON, environment="RECEIVER_TRITON_URL"),
    Flag("--triton-metrics", "Triton's metrics; '' leaves them out", "URL", TRITON_METRICS, environment="RECEIVER_TRITON_METRICS_URL"),
)  # fmt: skip
_REACHED = ("listen", "web_config_file", "bearer_token_file")
"""The settings that say where the receiver is, and who may ask it."""

VERBS = (
    Verb(
        "run",
        "receive and deliver",
        "Receive remote-write requests and deliver them, until stopped.",
        "receiver.cli.run",
        (Flag("--sandbox", "deliver to a sandbox started inside, not to Azure"),),
        example="Look at it while it runs: http://localhost:9201/",
        logs=True,
    ),
    Verb(
        "sandbox",
        "stand in for Application Insights",
        "Run the strict local stand-in for Application Insights, until stopped. It refuses what the\n"
        "service refuses, forgets all at its end, and can be told to fail: docs/sandbox.md. Prints what\n"
        "to set.",
        "receiver.cli.sandbox",
        (
            Flag("--listen", "address to listen on", "HOST:PORT", environment="RECEIVER_SANDBOX_LISTEN", destination="sandbox_listen"),
            Flag("--json", "print the connection string as a JSON object"),
        ),
        settings=("log_level", "log_format"),
        example="Example: run it, paste the line that it prints into another terminal, and start there\n"
        "appinsights-receiver run; http://127.0.0.1:9202/ shows what arrives.",
        logs=True,
    ),
    Verb(
        "check",
        "check what is set, offline",
        "Check the settings, metrics.json, the destination, the outbox and the access rules, as `run` does\n"
        "before it starts; on demand a Prometheus configuration too: does it write to this receiver, and\n"
        "do its rules make the _irate names asked for? Changes nothing; the receiver may run meanwhile.",
        "receiver.cli.check",
        (
            Flag("--prometheus", "a prometheus.yml to check as well, or the address of a Prometheus that runs", "FILE|URL"),
            Flag("--promtool", "the promtool to ask about it; without it the one on PATH, '' asks none", "FILE"),
            Flag("--cost-of", "say too what metrics.json costs a month: a Triton's metrics, a file with such a page, or a Prometheus; how often is scraped --prometheus says, if it is given", "URL", ""),
            Flag("--sandbox", "check for run --sandbox, which needs no destination"),
            Flag("--verbose", "show all settings, and where each comes from"),
            _JSON,
        ),
        example="Example: appinsights-receiver check --prometheus /etc/prometheus/prometheus.yml",
        exits="Exit codes: as `run` would end: 0 all can be used (warnings included), 1 the outbox or the address\n"
        "cannot, 2 a setting, metrics.json or the Prometheus configuration cannot.",
    ),
    Verb(
        "doctor",
        "find out online what is wrong",
        "Look at everything online: the endpoint (DNS, TLS, clock, one canary item), the receiver,\n"
        "Prometheus (up, scraping, its remote_write, its rules), Triton, and whether each name of\n"
        "metrics.json can appear. Each failure comes with its fix, and the cause stands on top.",
        "receiver.cli.doctor",
        (*_ASKING, *_UPSTREAM, Flag("--no-canary", "send nothing to Application Insights"), _JSON),
        settings=("connection_string", "authentication_string", "send_timeout_seconds", "metrics_json", *_REACHED),
        example="Example: appinsights-receiver doctor --triton http://triton:8000 --triton-metrics http://triton:8002/metrics",
        logs=True,
    ),
    Verb(
        "explain",
        "say what becomes of one metric",
        "Follow one metric from Triton over Prometheus and metrics.json to its last delivery, and say\n"
        "where it stops and why. A glob (quoted) explains the entry of metrics.json that it is.",
        "receiver.cli.explain",
        (*_ASKING, *_UPSTREAM, _JSON),
        (Operand("METRIC", "a series' name, as Prometheus shows it"),),
        settings=("metrics_json", *_REACHED),
        example="Example: appinsights-receiver explain nv_inference_request_success_irate",
    ),
    Verb(
        "suggest",
        "write a metrics.json from what is there",
        "Print a metrics.json with what a live Triton or Prometheus shows, and on standard error what each\n"
        "category costs and each entry does. Its entries fold: one item a minute that means something, a\n"
        "delta, a true mean, a span (docs/folding.md). With --raw every sample is an item; of a counter the\n"
        "_irate is taken where a rule records it, else the counter.",
        "receiver.cli.suggest",
        (
            Flag("--from", "Triton's metrics, or a Prometheus such as http://localhost:9090", "URL", TRITON_METRICS, destination="source"),
            Flag("--category", "a list of count,latency,summary,gpu,cpu,other; without it all that have series", "LIST", ""),
            Flag("--raw", "every sample as it comes, nothing folded"),
            Flag("--counters", "with --raw: take the counters themselves too"),
            Flag("--prometheus-url", "asked for its rules and scrape interval, if it answers; '' asks none", "URL", PROMETHEUS, environment="RECEIVER_PROMETHEUS_URL"),
            Flag("--scrape-seconds", "how often Prometheus scrapes; without it Prometheus is asked", "SECONDS", read=scrape_interval),
            Flag("--output", "write metrics.json there; a file that exists is kept", "FILE"),
            Flag("--json", "print the categories and their costs as well"),
        ),
        settings=("price_per_gb",),
        example="Example: appinsights-receiver suggest --category count,latency > metrics.json",
    ),
    Verb(
        "relabel",
        "print write_relabel_configs",
        "Print the write_relabel_configs that let Prometheus write only what metrics.json names.\n"
        "The receiver drops the rest cheaply; this saves the network and Prometheus' own work too.\n"
        "A change of metrics.json then needs a change of prometheus.yml as well.\n"
        "With --shards print a whole remote_write that shares the targets out among several receivers.",
        "receiver.cli.relabel",
        (
            Flag("--shards", "how many receivers there are: an entry for each, with its share of the targets", "N", 1, read=shards),
            Flag("--url", "the receivers' address, with {} for the number: 0, 1, …", "URL", POD_URL),
            Flag("--operator", "spell the keys as Prometheus' operator does: prometheusSpec, the Prometheus resource"),
            _JSON,
        ),
        settings=("metrics_json",),
        example="Put it under the remote_write entry that writes to the receiver.\n"
        "Example: appinsights-receiver relabel --shards 3",
    ),
    Verb(
        "azure",
        "write queries, a workbook and alerts",
        "Write what a team pastes into the portal or deploys, from the metrics.json in use. A chart, a query\n"
        "or a rule is there only if its metrics are selected in a form that can carry it:\n\n"
        "  workbook    the workbook's JSON, for its Advanced Editor\n"
        "  template    an ARM template: the workbook, alert rules on queries and on metrics\n"
        "  queries     the queries in KQL, as Markdown\n"
        "  keda        a ScaledObject: more Tritons when requests wait",
        "receiver.cli.azure",
        (Flag("--output", "write it there", "FILE"),),
        (Operand("KIND", "one of the above", choices=("workbook", "template", "queries", "keda")),),
        settings=("metrics_json",),
        example="Example: appinsights-receiver azure template --output azuredeploy.json",
    ),
    Verb(
        "cost",
        "say what a metrics.json will cost",
        "Count, from the series that a Triton shows now, the items and the billed gigabytes that metrics.json\n"
        "brings in a month, entry by entry; beside it the folded example, and all of Triton's metrics raw.\n"
        "Sends nothing. With --calibrate it compares the estimate with what a resource was billed.",
        "receiver.cli.cost",
        (
            Flag("--from", "a Triton's metrics, a file with such a page, or a Prometheus", "URL", TRITON_METRICS, destination="source"),
            Flag("--prometheus", "a prometheus.yml or the address of a Prometheus, which says how often it scrapes and what its rules record", "FILE|URL", ""),
            Flag("--scrape-seconds", "how often it scrapes; without it --prometheus says it, else 15 s are supposed", "SECONDS", read=scrape_interval),
            Flag("--calibrate", "ITEMS=number,BYTES=number as your resource's own query says", "NUMBERS", ""),
            _JSON,
        ),
        settings=("metrics_json", "price_per_gb", "billed_factor"),
        example="Example: appinsights-receiver cost --metrics-json metrics.json --price-per-gb 2.30",
    ),
    Verb(
        "rules",
        "print Prometheus' rules",
        "Print the recording rules that make Triton's _irate series (irate), or the alerts on the\n"
        "receiver's own metrics (alerts): a file for Prometheus' rule_files.",
        "receiver.cli.rules",
        (_JSON,),
        (Operand("KIND", "irate or alerts", "irate", ("irate", "alerts")),),
        settings=(),
        example="Example: appinsights-receiver rules > /etc/prometheus/rules/triton_irate.yml",
    ),
    Verb(
        "example",
        "print a configuration to begin with",
        "Print a whole file, which its first lines tell how to use:\n\n"
        "  prometheus  a prometheus.yml, each choice explained\n"
        "  metrics     a metrics.json, with the names that are sent without one\n"
        "  schema      metrics.json's JSON Schema, for an editor\n"
        "  compose     Triton, Prometheus and the receiver for docker compose\n"
        "  systemd     a unit for a machine without containers\n"
        "  kubernetes  the receiver in a cluster, for kubectl apply\n"
        "  grafana     a dashboard of the receiver's own metrics",
        "receiver.cli.example",
        (_JSON,),
        (Operand("KIND", "one of the above", choices=("prometheus", "metrics", "schema", "compose", "systemd", "kubernetes", "grafana")),),
        settings=(),
        example="Example: appinsights-receiver example systemd",
    ),
    Verb(
        "tap",
        "show what flows right now",
        "Show the items that a running receiver commits, as they go by: all of them at a modest pace,\n"
        "a sample of them past some thousand a second. Ends with Ctrl-C, --count or --seconds.",
        "receiver.cli.tap",
        (
            *_ASKING,
            Flag("--count", "end after so many items", "N", read=at_least_one),
            Flag("--seconds", "end after so long; exit code 1 where nothing came", "SECONDS", read=some_seconds),
            _JSON_LINES,
        ),
        (Operand("GLOB", "names to show, with * and ?", "*"),),
        settings=_REACHED,
        example="Example: appinsights-receiver tap 'nv_gpu_*' --count 20",
    ),
    Verb(
        "top",
        "watch the stages in a terminal",
        "Watch a running receiver: the verdict, the flow of the last minute, the busiest metrics and the\n"
        "last errors. Ends with q or Ctrl-C; without a terminal it shows one moment and ends.",
        "receiver.cli.top",
        (
            *_ASKING,
            Flag("--every", "how often to look (default: 2)", "SECONDS", 2.0, read=pause),
            Flag("--once", "show one moment and end"),
            Flag("--json", "one moment, as JSON"),
        ),
        settings=_REACHED,
        example="Example: appinsights-receiver top --receiver http://receiver:9201 --every 5",
        exits="Exit codes: 0 all is well, 1 the verdict is bad or nobody answers, 2 a setting cannot be used.",
    ),
    Verb(
        "dead-letters",
        "show rejected items",
        "Show the latest items that Application Insights rejected for good, grouped by its words, with\n"
        "what to do. Asks the running receiver, or reads the outbox's directory where none answers.",
        "receiver.cli.dead_letters",
        (
            *_ASKING,
            Flag("--limit", "at most so many items, the newest (default: 1000)", "N", 1000, read=at_least_one),
            Flag("--all", "show every item, not one of each group"),
            _JSON_LINES,
        ),
        settings=("outbox_dir", *_REACHED),
        example="Example: appinsights-receiver dead-letters --json | jq .message",
    ),
    Verb(
        "outbox",
        "show an outbox, or carry it to another machine",
        "Look into an outbox, or move what waits in it: batches, the state of the fold, and the requests\n"
        "of the last ten minutes. For export and import the receivers of both outboxes are stopped:\n\n"
        "  show      what waits in the outbox, or in FILE: items, age, destinations; a receiver may run\n"
        "  export    move all that waits into FILE; the outbox is empty then, and its ledger says exported\n"
        "  import    add what FILE holds to the outbox, once; the next start delivers it with its own key\n\n"
        "A process that dies amid an export or an import has moved all or nothing: run it again.",
        "receiver.cli.outbox",
        (
            Flag("--copy", "with export: leave everything where it is too; both outboxes would deliver it"),
            _JSON,
        ),
        (
            Operand("ACTION", "show, export or import", choices=("show", "export", "import")),
            Operand("FILE", "the file that is written or read", ""),
        ),
        settings=("outbox_dir",),
        example="Example: appinsights-receiver outbox export /mnt/outbox.export --outbox-dir /var/lib/receiver",
    ),
    Verb(
        "completion",
        "print a completion script for a shell",
        "Print what makes a shell complete verbs and flags.",
        "receiver.cli.completion",
        operands=(Operand("SHELL", "bash, zsh or fish", choices=("bash", "zsh", "fish")),),
        settings=(),
        example="bash: source <(appinsights-receiver completion bash)          in ~/.bashrc\n"
        "zsh:  source <(appinsights-receiver completion zsh)           in ~/.zshrc, after compinit\n"
        "fish: appinsights-receiver completion fish | source           in ~/.config/fish/config.fish",
    ),
)  # fmt: skip
"""Every verb, in the order in which help lists them."""


def find(name: str) -> Verb | None:
    """Find a verb by its name."""
    return next((verb for verb in VERBS if verb.name == name), None)
