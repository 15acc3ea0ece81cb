"""`azure`: a workbook, queries, alerts or a scaler, generated from the metrics.json in use."""

import argparse
import json
import sys
from pathlib import Path

from receiver.config.settings import Origin, Settings, load_allowlist
from receiver.intake.metrics_json import Allowlist
from receiver.pack.alerts import log_rules, metric_rules
from receiver.pack.keda import scaled_object
from receiver.pack.panels import panels
from receiver.pack.queries import markdown
from receiver.pack.sources import Sources
from receiver.pack.template import template
from receiver.pack.workbook import workbook
from receiver.text import printable

NO_SCALER = (
    "no entry of metrics.json can drive scaling: select nv_inference_pending_request_count, or "
    "nv_inference_queue_duration_us as a mean per nv_inference_request_success"
)


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Print the document, or write it to a file."""
    text = _text(given.kind, load_allowlist(settings))
    if not text:
        print(f"error: {NO_SCALER}", file=sys.stderr)
        return 1
    if not given.output:
        print(text, end="")
        return 0
    try:
        Path(given.output).write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"error: {printable(given.output)}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{printable(given.output)} is written.", file=sys.stderr)
    return 0


def _text(kind: str, allowlist: Allowlist) -> str:
    sources = Sources(allowlist)
    if kind == "keda":
        return scaled_object(sources)
    shown = panels(sources)
    if kind == "queries":
        return markdown(shown, next((mean.item for mean in sources.means), ""))
    are_tritons = all((entry.rename or entry.name).startswith("nv_") for entry in allowlist.entries)
    book = workbook(shown, are_tritons=are_tritons)
    if kind == "template":
        book = template(book, log_rules(sources), metric_rules(sources))
    return json.dumps(book, indent=2, ensure_ascii=False) + "\n"
