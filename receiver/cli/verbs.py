"""The table of the command line's verbs: names, flags, meanings.

Plain values, quick to load. `receiver.cli.parser` parses by it, `receiver.cli.help_text`,
docs/cli.md and `receiver.cli.completion` are generated from it, and `receiver.cli.main`
loads the verb's module and calls its `run(given, settings, origins)`, which returns the
exit code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from receiver.cli.values import at_least_one, pause, scrape_interval, shards, some_seconds
from receiver.errors import WRITE_PATH

PROGRAM = "appinsights-receiver"
SUMMARY = "Takes Prometheus' remote_write and delivers it to Azure Application Insights."

PROMETHEUS = "http://localhost:9090"
POD_ADDRESS = "http://appinsights-receiver-{}.appinsights-receiver-pods:9201"
"""The pods' addresses by the manifests' names, from their own namespace."""
POD_URL = f"{POD_ADDRESS}{WRITE_PATH}"
TRITON = "http://localhost:8000"
TRITON_METRICS = "http://localhost:8002/metrics"

EXIT_CODES = (
    "Exit codes: 0 success, 1 a problem was found or the verb failed, 2 a setting cannot be used."
)


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of a verb. `takes` names its value; empty for a switch.

    `environment` is a variable used where the flag is missing; `choices` are its allowed values.
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
        """The attribute that holds the flag's value."""
        return self.destination or self.name.strip("-").replace("-", "_").replace(".", "_")


@dataclass(frozen=True, slots=True)
class Operand:
    """A positional argument of a verb."""

    name: str
    meaning: str
    default: str | None = None
    choices: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        """The operand in the usage line: in brackets where it is optional."""
        return self.name if self.default is None else f"[{self.name}]"


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb. `settings` are listed in its help; all other settings are accepted too.

    None lists all settings; an empty tuple means that the verb accepts none.
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
        """The usage line."""
        return " ".join(
            [PROGRAM, self.name, *(operand.usage for operand in self.operands), "[OPTION …]"]
        )


_JSON = Flag("--json", "answer in JSON")
_JSON_LINES = Flag("--json", "one JSON object a line")
_ASKING = (
    Flag("--receiver", "address of the receiver (default: the one of this configuration)", "URL", environment="RECEIVER_URL"),
    Flag("--user-file", "file with user:password for the receiver; other users can read a command line (ps)", "FILE", environment="RECEIVER_USER_FILE"),
)  # fmt: skip
_UPSTREAM = (
    Flag("--prometheus-url", "Prometheus; '' skips it", "URL", PROMETHEUS, environment="RECEIVER_PROMETHEUS_URL"),
    Flag("--triton", "Triton's HTTP port; '' skips it", "URL", TRITON, environment="RECEIVER_TRITON_URL"),
    Flag("--triton-metrics", "Triton's metrics; '' skips them", "URL", TRITON_METRICS, environment="RECEIVER_TRITON_METRICS_URL"),
)  # fmt: skip
_REACHED = ("listen", "web_config_file", "bearer_token_file")
"""The settings for the receiver's address and credentials."""

VERBS = (
    Verb(
        "run",
        "receive and deliver",
        "Receive remote-write requests and deliver their samples, until stopped.",
        "receiver.cli.run",
        (Flag("--sandbox", "deliver to a sandbox started inside, not to Azure"),),
        example="The status page of the running receiver: http://localhost:9201/",
        logs=True,
    ),
    Verb(
        "sandbox",
        "stand in for Application Insights",
        "Run the strict local stand-in for Application Insights, until stopped. It refuses what the\n"
        "service refuses, keeps nothing after it ends, and can inject failures: docs/sandbox.md. Prints\n"
        "the connection string to set.",
        "receiver.cli.sandbox",
        (
            Flag("--listen", "address to listen on", "HOST:PORT", environment="RECEIVER_SANDBOX_LISTEN", destination="sandbox_listen"),
            Flag("--json", "print the connection string as a JSON object"),
        ),
        settings=("log_level", "log_format"),
        example="Example: run it, paste the printed line into another terminal, and start there\n"
        "appinsights-receiver run; http://127.0.0.1:9202/ shows the items that arrive.",
        logs=True,
    ),
    Verb(
        "check",
        "check the settings, offline",
        "Check the settings, metrics.json, the destination, the outbox and the access rules, as `run` does\n"
        "before it starts. With --prometheus also check a Prometheus configuration: whether it writes to\n"
        "this receiver, whether its rules record the selected _irate names, and whether its external_labels\n"
        "fit RECEIVER_REPLICA_LABEL. Changes nothing; the receiver may be running.",
        "receiver.cli.check",
        (
            Flag("--prometheus", "a prometheus.yml to check as well, or the address of a running Prometheus", "FILE|URL"),
            Flag("--promtool", "the promtool that checks it (default: the one on PATH); '' runs none", "FILE"),
            Flag("--cost-of", "also forecast the monthly cost of metrics.json, and of each route, from a Triton's metrics, a file with such a page, or a Prometheus; the scrape interval is from --prometheus, if given", "URL", ""),
            Flag("--sandbox", "check for run --sandbox, which needs no destination"),
            Flag("--verbose", "show all settings and their sources"),
            _JSON,
        ),
        example="Example: appinsights-receiver check --prometheus /etc/prometheus/prometheus.yml",
        exits="Exit codes: 0 `run` would start (perhaps with warnings), 1 the outbox or the address cannot be\n"
        "used, 2 a setting, metrics.json or the Prometheus configuration cannot be used.",
    ),
    Verb(
        "doctor",
        "find the cause of a problem, online",
        "Check everything online: the endpoint (DNS, TLS, clock, one canary item), the receiver,\n"
        "Prometheus (up, targets, remote_write, rules), Triton, and whether every name of metrics.json\n"
        "exists. Each failure comes with its fix, and the root cause is on top.",
        "receiver.cli.doctor",
        (*_ASKING, *_UPSTREAM, Flag("--no-canary", "send nothing to Application Insights"), _JSON),
        settings=("connection_string", "authentication_string", "send_timeout_seconds", "metrics_json", "routes", *_REACHED),
        example="Example: appinsights-receiver doctor --triton http://triton:8000 --triton-metrics http://triton:8002/metrics",
        logs=True,
    ),
    Verb(
        "explain",
        "follow one metric through all stages",
        "Follow one metric from Triton through Prometheus and metrics.json to its last delivery, and show\n"
        "where it stops and why. A quoted glob explains the entry of metrics.json with that name.",
        "receiver.cli.explain",
        (*_ASKING, *_UPSTREAM, _JSON),
        (Operand("METRIC", "a series' name, as Prometheus shows it"),),
        settings=("metrics_json", "routes", *_REACHED),
        example="Example: appinsights-receiver explain nv_inference_request_success_irate",
    ),
    Verb(
        "suggest",
        "write a metrics.json for a live Triton",
        "Print a metrics.json for the metrics of a live Triton or Prometheus, and on standard error the cost\n"
        "of each category, the effect of each entry, and the cost of each route where there is a\n"
        "routes.json. The entries fold: one item a minute, which is a delta, a true mean, or an aggregate\n"
        "with minimum and maximum (docs/folding.md). With --raw every sample is an item; for a counter its\n"
        "_irate is chosen where a rule records it, else the counter.",
        "receiver.cli.suggest",
        (
            Flag("--from", "Triton's metrics, or a Prometheus such as http://localhost:9090", "URL", TRITON_METRICS, destination="source"),
            Flag("--category", "a list of count,latency,summary,gpu,cpu,other (default: all that have series)", "LIST", ""),
            Flag("--raw", "send every sample unchanged, fold nothing"),
            Flag("--counters", "with --raw: select the counters too"),
            Flag("--prometheus-url", "Prometheus, for its rules and scrape interval; '' skips it", "URL", PROMETHEUS, environment="RECEIVER_PROMETHEUS_URL"),
            Flag("--scrape-seconds", "scrape interval (default: read from Prometheus)", "SECONDS", read=scrape_interval),
            Flag("--output", "write metrics.json to this file; never overwrites one", "FILE"),
            Flag("--json", "print JSON, with the categories and their costs"),
        ),
        settings=("routes", "price_per_gb"),
        example="Example: appinsights-receiver suggest --category count,latency > metrics.json",
    ),
    Verb(
        "relabel",
        "print write_relabel_configs",
        "Print write_relabel_configs with which Prometheus writes only the metrics of metrics.json. The\n"
        "receiver drops the rest cheaply; this saves the network and Prometheus' own work too. A change\n"
        "of metrics.json then needs a change of prometheus.yml as well. With --shards print a complete\n"
        "remote_write that distributes the targets over several receivers.",
        "receiver.cli.relabel",
        (
            Flag("--shards", "number of receivers; prints one entry for each, with its share of the targets", "N", 1, read=shards),
            Flag("--url", "address of the receivers, with {} for the number: 0, 1, …; or all addresses, with commas", "URL", POD_URL),
            Flag("--operator", "print the keys of Prometheus' operator: prometheusSpec, the Prometheus resource"),
            _JSON,
        ),
        settings=("metrics_json",),
        example="Put the output under the remote_write entry of the receiver.\n"
        "Example: appinsights-receiver relabel --shards 3",
    ),
    Verb(
        "handover",
        "move folded sums between receivers",
        "After a change of the number of receivers: move the last values of folded series to their new\n"
        "receiver, and have the old one forget them, so that no growth is lost or counted twice.\n"
        "Run it when every Prometheus has the new shards; run it again after an interruption.",
        "receiver.cli.handover",
        (
            Flag("--shards", "new number of receivers", "N", 1, read=shards),
            Flag("--receivers", "number of receivers to ask, those to remove included (default: as --shards)", "N", 0, read=shards),
            Flag("--url", "their address, with {} for the number: 0, 1, …; or all addresses, with commas", "URL", POD_ADDRESS),
            Flag("--labels", "labels that Prometheus hashes over, in that order", "LIST", "job,instance"),
            Flag("--settle", "time without a sample after which a series is moved", "SECONDS", 90.0, read=some_seconds),
            Flag("--user-file", "file with user:password for them", "FILE", environment="RECEIVER_USER_FILE"),
            Flag("--dry-run", "only show what would move"),
            _JSON,
        ),
        settings=("bearer_token_file", "web_config_file"),
        example="Example, from three receivers back to two: appinsights-receiver handover --shards 2 --receivers 3",
    ),
    Verb(
        "azure",
        "generate queries, a workbook and alerts",
        "Generate a document for the Azure portal or a deployment, from the metrics.json in use. It contains\n"
        "only the charts, queries and rules whose metrics are selected in a usable form:\n\n"
        "  workbook    the workbook's JSON, for its Advanced Editor\n"
        "  template    an ARM template: the workbook, alert rules on queries and on metrics\n"
        "  queries     the queries in KQL, as Markdown\n"
        "  keda        a ScaledObject that adds Tritons while requests wait",
        "receiver.cli.azure",
        (Flag("--output", "write to this file", "FILE"),),
        (Operand("KIND", "one of the above", choices=("workbook", "template", "queries", "keda")),),
        settings=("metrics_json",),
        example="Example: appinsights-receiver azure template --output azuredeploy.json",
    ),
    Verb(
        "cost",
        "estimate the cost of a metrics.json",
        "Estimate, from Triton's current series, the items and billed gigabytes a month of each entry of\n"
        "metrics.json, and of each route where there is a routes.json; for comparison also of the folded\n"
        "example, and of all of Triton's metrics raw.\n"
        "Sends nothing. With --calibrate compare the estimate with a resource's bill from Azure.",
        "receiver.cli.cost",
        (
            Flag("--from", "Triton's metrics, a file with such a page, or a Prometheus", "URL", TRITON_METRICS, destination="source"),
            Flag("--prometheus", "a prometheus.yml or the address of a Prometheus, for its scrape intervals and recording rules", "FILE|URL", ""),
            Flag("--scrape-seconds", "scrape interval (default: from --prometheus, else 15)", "SECONDS", read=scrape_interval),
            Flag("--calibrate", "ITEMS=number,BYTES=number, the result of the billing query on your resource", "NUMBERS", ""),
            _JSON,
        ),
        settings=("metrics_json", "routes", "price_per_gb", "billed_factor"),
        example="Example: appinsights-receiver cost --metrics-json metrics.json --price-per-gb 2.30",
    ),
    Verb(
        "rules",
        "print Prometheus' rules",
        "Print a file for Prometheus' rule_files: the recording rules for Triton's _irate series (irate), or\n"
        "the alerts on the receiver's own metrics (alerts).",
        "receiver.cli.rules",
        (_JSON,),
        (Operand("KIND", "irate or alerts", "irate", ("irate", "alerts")),),
        settings=(),
        example="Example: appinsights-receiver rules > /etc/prometheus/rules/triton_irate.yml",
    ),
    Verb(
        "example",
        "print an example configuration",
        "Print a complete file, with instructions in its first lines:\n\n"
        "  prometheus  a prometheus.yml with comments on every choice\n"
        "  metrics     a metrics.json, the one used by default\n"
        "  schema      metrics.json's JSON Schema, for an editor\n"
        "  routes-schema  routes.json's\n"
        "  compose     Triton, Prometheus and the receiver for docker compose\n"
        "  systemd     a unit for a machine without containers\n"
        "  kubernetes  the receiver in a cluster, for kubectl apply\n"
        "  grafana     a dashboard of the receiver's own metrics",
        "receiver.cli.example",
        (_JSON,),
        (Operand("KIND", "one of the above", choices=("prometheus", "metrics", "schema", "routes-schema", "compose", "systemd", "kubernetes", "grafana")),),
        settings=(),
        example="Example: appinsights-receiver example systemd",
    ),
    Verb(
        "tap",
        "show committed items live",
        "Show items live as a running receiver commits them: all of them at a low rate, a sample of them\n"
        "above about a thousand a second. Ends with Ctrl-C, --count or --seconds.",
        "receiver.cli.tap",
        (
            *_ASKING,
            Flag("--count", "end after this number of items", "N", read=at_least_one),
            Flag("--seconds", "end after this time; exit code 1 if no item came", "SECONDS", read=some_seconds),
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
        "last errors. Ends with q or Ctrl-C; without a terminal it prints the state once and ends.",
        "receiver.cli.top",
        (
            *_ASKING,
            Flag("--every", "refresh interval (default: 2)", "SECONDS", 2.0, read=pause),
            Flag("--once", "print the current state once and end"),
            Flag("--json", "print the current state once, as JSON"),
        ),
        settings=_REACHED,
        example="Example: appinsights-receiver top --receiver http://receiver:9201 --every 5",
        exits="Exit codes: 0 the verdict is not bad, 1 the verdict is bad or no receiver answers, 2 a setting cannot be used.",
    ),
    Verb(
        "dead-letters",
        "show rejected items",
        "Show the latest items that Application Insights rejected permanently, grouped by its message, with\n"
        "a hint for each group. Asks the running receiver, or reads the outbox's directory if none answers.",
        "receiver.cli.dead_letters",
        (
            *_ASKING,
            Flag("--limit", "show at most this number of items, the newest (default: 1000)", "N", 1000, read=at_least_one),
            Flag("--all", "show every item instead of one of each group"),
            _JSON_LINES,
        ),
        settings=("outbox_dir", *_REACHED),
        example="Example: appinsights-receiver dead-letters --json | jq .message",
    ),
    Verb(
        "outbox",
        "show an outbox, or move it to another machine",
        "Show an outbox, or move its content: batches, the state of the fold, and the requests of the last\n"
        "ten minutes. For export and import stop the receivers of both outboxes:\n\n"
        "  show      the content of the outbox, or of FILE: items, age, destinations; a receiver may run\n"
        "  export    move everything into FILE; the outbox is then empty, its items count as exported\n"
        "  import    add the content of FILE to the outbox, once; the next start delivers it with its own key\n\n"
        "A process that dies amid an export or an import has moved all or nothing: run it again.",
        "receiver.cli.outbox",
        (
            Flag("--copy", "with export: keep everything in the outbox too; both outboxes would deliver it"),
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
        "Print a script that lets a shell complete verbs and flags.",
        "receiver.cli.completion",
        operands=(Operand("SHELL", "bash, zsh or fish", choices=("bash", "zsh", "fish")),),
        settings=(),
        example="bash: source <(appinsights-receiver completion bash)          in ~/.bashrc\n"
        "zsh:  source <(appinsights-receiver completion zsh)           in ~/.zshrc, after compinit\n"
        "fish: appinsights-receiver completion fish | source           in ~/.config/fish/config.fish",
    ),
)  # fmt: skip
"""All verbs, in the order of the help."""


def find(name: str) -> Verb | None:
    """Find a verb by its name."""
    return next((verb for verb in VERBS if verb.name == name), None)
