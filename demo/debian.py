"""Unpack Debian packages of a named suite into a folder of their own.

Nothing is installed: apt runs with its own lists, cache, preferences and a
single source of the suite asked for, so the machine's apt is only read, for
its mirror, proxy and keys. Signatures are checked as ever. Dependencies are
not followed: this is for programs that need little more than libc.
Rules: apt.conf(5), sources.list(5), apt-get(8).
"""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from demo.parts import MissingPart, make_once

APT_TIMEOUT_SECONDS = 600.0
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
ARCHIVE_SUITES = frozenset(
    {"bullseye", "bookworm", "trixie", "forky", "duke", "sid"}
    | {"oldoldstable", "oldstable", "stable", "testing", "unstable"}
)

# Read after the machine's own configuration: hooks of other programs don't
# run for our lists, and of all indexes only Packages is fetched.
APT_CONF = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets;
Acquire::IndexTargets::deb::Packages {
  MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages";
  ShortDescription "Packages";
  Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages";
};
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
APT::Update::Error-Mode "any";
"""


@dataclass(frozen=True)
class _Request:
    """What to unpack, and where it will be when it is."""

    suite: str
    packages: tuple[str, ...]
    part: Path

    @property
    def what(self) -> str:
        return f"{' and '.join(self.packages)} of Debian {self.suite}"

    def missing(self, why: str, way_round: str) -> MissingPart:
        return MissingPart(
            f"{self.what} can't be fetched: {why}. {way_round}, "
            f"or unpack the .deb of each (dpkg-deb -x) into {self.part} yourself."
        )


def fetch(
    packages: Sequence[str],
    suite: str,
    root: Path,
    *,
    progress: Callable[[str], object] = lambda _line: None,
) -> Path:
    """Return a folder that holds the files of `packages` as `suite` has them.

    It lies under `root`; a second call returns it at once, offline.
    `progress` gets a line for a person when something is downloaded.

    Raises: MissingPart.
    """
    part = root.absolute() / "debian" / suite / "+".join(packages)
    request = _Request(suite, tuple(packages), part)
    return make_once(part, lambda unfinished: _download(request, unfinished, progress))


def _download(request: _Request, into: Path, progress: Callable[[str], object]) -> None:
    if missing := [tool for tool in ("apt-get", "dpkg-deb") if not shutil.which(tool)]:
        raise request.missing(f"this system has no {missing[0]}", _ELSEWHERE)
    site = debian_mirror(_apt(["update", "--print-uris"]).stdout, request.suite)
    if site is None:
        here = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
        raise request.missing(f"the apt sources of this {here} name no Debian mirror", _ELSEWHERE)
    work = into / ".apt"
    options = _isolated(work, site, request.suite)
    progress(f"Fetching {request.what} from {_shown(site)}")
    updated = _apt([*options, "update"])
    if updated.returncode:
        raise request.missing(
            f"reading {_shown(site)} failed ({_reason(updated)})",
            "Check the network, the proxy and the mirror in apt's sources and run it again",
        )
    for package in request.packages:
        downloaded = _apt([*options, "download", package], cwd=work)
        if "Unable to locate package" in downloaded.stderr:
            raise request.missing(f"that suite has no package {package}", "Name another suite")
        if downloaded.returncode:
            raise request.missing(
                f"downloading {package} failed ({_reason(downloaded)})",
                "Check the network and the free space on disk and run it again",
            )
    for deb in sorted(work.glob("*.deb")):
        unpacked = _run(["dpkg-deb", "-x", str(deb), str(into)])
        if unpacked.returncode:
            raise request.missing(
                f"unpacking {deb.name} failed ({_reason(unpacked)})",
                "Check the free space on disk and run it again",
            )
    shutil.rmtree(work)


_ELSEWHERE = "Run it on Debian 12 (a debian:bookworm container will do)"


def debian_mirror(printed_uris: str, suite: str) -> str | None:
    """Pick the URI of a Debian archive from what `apt-get update --print-uris` says.

    The source of `suite` itself comes first, then any other suite of the main
    archive: every mirror of it has them all. Source: apt-get(8), --print-uris.
    """
    sources = re.findall(r"^'(.+)/dists/([^/']+)/InRelease'", printed_uris, re.MULTILINE)
    archives = {name: site for site, name in reversed(sources) if name in ARCHIVE_SUITES}
    first = next((site for site, name in sources if name in ARCHIVE_SUITES), None)
    return archives.get(suite, first)


def _isolated(work: Path, site: str, suite: str) -> list[str]:
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    signed_by = f"signed-by={KEYRING} " if KEYRING.exists() else ""
    architecture = _run(["dpkg", "--print-architecture"]).stdout.strip()
    source = f"deb [{signed_by}arch={architecture}] {site} {suite} main\n"
    (work / "sources.list").write_text(source)
    (work / "apt.conf").write_text(APT_CONF)
    settings = {
        "Dir::Etc::SourceList": work / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State::Lists": work / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": work / "cache",
        # Root's apt downloads as _apt, who can't see into a folder below /root.
        "APT::Sandbox::User": "root",
    }
    options = [f"-o{name}={value}" for name, value in settings.items()]
    return ["--quiet", f"--config-file={work / 'apt.conf'}", *options]


def _apt(arguments: Sequence[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return _run(["apt-get", *arguments], cwd)


def _run(command: Sequence[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}  # its messages are read above
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=APT_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        late = f"E: no end after {APT_TIMEOUT_SECONDS:.0f} seconds"
        return subprocess.CompletedProcess(command, 1, "", late)


def _reason(finished: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in finished.stderr.splitlines() if line.strip()]
    told = next((line for line in lines if line.startswith("E:")), lines[-1] if lines else "")
    return " ".join(told.removeprefix("E:").split()).rstrip(".") or "it gave no reason"


def _shown(site: str) -> str:
    parts = urlsplit(site)  # a mirror's URI may hold a password
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
