"""The parser of Prometheus' web.config.file: TLS, users and headers.

In: the file's text. Out: a `WebConfig`. Opens no file. An option that Python's ssl does not
support is an error, not ignored.

Rules: prometheus/exporter-toolkit, docs/web-configuration.md.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from receiver.errors import SettingsError

CLIENT_AUTH = {
    "NoClientCert": "none",
    "VerifyClientCertIfGiven": "optional",
    "RequireAndVerifyClientCert": "required",
}
VERSIONS = {"TLS12": "TLSv1_2", "TLS13": "TLSv1_3"}
OLD_VERSIONS = ("TLS10", "TLS11")
CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
}
"""Go's names of TLS 1.2's cipher suites, and OpenSSL's."""
CIPHERS_13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""TLS 1.3's cipher suites, always enabled in Go and in Python."""
CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
HEADERS = (
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
    "Content-Security-Policy",
)
"""The headers that the format lets an operator set."""

_TOP = ("tls_server_config", "http_server_config", "basic_auth_users")
_HTTP = ("http2", "headers")
_TLS = (
    "cert", "cert_file", "key", "key_file", "client_ca", "client_ca_file", "client_auth_type",
    "client_allowed_sans", "min_version", "max_version", "cipher_suites", "curve_preferences",
    "prefer_server_cipher_suites",
)  # fmt: skip
_BCRYPT = re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}")


@dataclass(frozen=True, slots=True)
class Pem:
    """A certificate or key: a file's path, or the text itself, which may be secret."""

    path: Path | None = None
    text: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """The TLS options. Empty values mean Python's defaults."""

    certificate: Pem
    key: Pem
    client_ca: Pem | None = None
    client_auth: str = "none"
    client_allowed_sans: tuple[str, ...] = ()
    min_version: str = "TLSv1_2"
    max_version: str = ""
    ciphers: tuple[str, ...] = ()
    curve: str = ""
    prefer_server_ciphers: bool = True

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of certificates and keys."""
        pems = (self.certificate, self.key, self.client_ca)
        return tuple(pem.path for pem in pems if pem and pem.path)


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The file's content. `users` maps names to bcrypt hashes, which are never shown."""

    tls: TlsConfig | None = None
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


def parse(text: str, source: Path) -> WebConfig:
    """Read a web.config.file; `source` is its path, for messages and for relative paths.

    Raises: SettingsError, which names the place and never a secret.
    """
    reader = _Reader(source)
    document = reader.document(text)
    reader.known(document, _TOP, "")
    http = reader.mapping(document, "http_server_config", "")
    reader.known(http, _HTTP, "http_server_config")
    tls = reader.mapping(document, "tls_server_config", "")
    return WebConfig(
        tls=reader.tls(tls) if tls else None,
        users=reader.users(reader.mapping(document, "basic_auth_users", "")),
        headers=reader.headers(reader.mapping(http, "headers", "http_server_config")),
    )


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses duplicate keys, as exporter-toolkit does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - the base's signature
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem="duplicate key", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


class _Reader:
    """Parses the sections; every error starts with the file's name."""

    def __init__(self, source: Path) -> None:
        self._source = source

    def error(self, text: str) -> SettingsError:
        return SettingsError(f"{self._source}: {text}")

    def document(self, text: str) -> dict[str, Any]:
        try:
            document = yaml.load(text, _StrictLoader)  # noqa: S506 - a stricter safe loader
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
            why = re.split("[\"']", getattr(error, "problem", "") or "it cannot be read")[0].strip()
            raise self.error(f"{where}not YAML: {why}") from None  # a quoted value may be a secret
        except Exception as error:  # noqa: BLE001 - its constructors raise what they like: !!int ''
            raise self.error(f"not YAML: {type(error).__name__}") from None
        if document is None:
            raise self.error("the file is empty; write {} into it to ask for no credentials")
        if not isinstance(document, dict):
            raise self.error("the file is not a mapping")
        return document

    def known(self, section: Mapping[str, Any], names: Sequence[str], place: str) -> None:
        for name in section:
            if name not in names:
                near = difflib.get_close_matches(str(name), names, n=1)
                hint = f'; did you mean "{near[0]}"?' if near else f"; known are {', '.join(names)}"
                at = f"{place}: " if place else ""
                raise self.error(f'{at}unknown key "{name}"{hint}')

    def mapping(self, owner: Mapping[str, Any], key: str, place: str) -> dict[str, Any]:
        section = owner.get(key)
        if section is None:
            return {}
        if not isinstance(section, dict):
            raise self.error(f"{place}{'.' if place else ''}{key} is not a mapping")
        return section

    def users(self, section: Mapping[str, Any]) -> dict[str, str]:
        for name, password in section.items():
            if not isinstance(password, str) or not _BCRYPT.fullmatch(password):
                raise self.error(
                    f'basic_auth_users: the password of "{name}" is not a bcrypt hash; make one, for example with htpasswd -nBC 10 ""'
                )
        return {str(name): password for name, password in section.items()}

    def headers(self, section: Mapping[str, Any]) -> dict[str, str]:
        self.known(section, HEADERS, "http_server_config.headers")
        for name, value in section.items():
            if not isinstance(value, str) or re.search(r"[\x00-\x1f\x7f]", value):
                raise self.error(f"http_server_config.headers.{name} is not one line of text")
        return dict(section)

    def tls(self, section: Mapping[str, Any]) -> TlsConfig:
        self.known(section, _TLS, "tls_server_config")
        certificate, key = self.pem(section, "cert"), self.pem(section, "key")
        if certificate is None or key is None:
            missing = "cert_file" if certificate is None else "key_file"
            raise self.error(f"tls_server_config: {missing} is missing")
        client_ca = self.pem(section, "client_ca")
        client_auth = self.client_auth(section, client_ca)
        sans = self.texts(section, "client_allowed_sans")
        if sans and client_auth != "required":
            raise self.error(
                "tls_server_config: client_allowed_sans needs client_auth_type RequireAndVerifyClientCert"
            )
        curves = [self.one_of(curve, CURVES, "curve_preferences") for curve in self.texts(section, "curve_preferences")]  # fmt: skip
        if len(curves) > 1:
            raise self.error(
                "tls_server_config: curve_preferences names several curves; Python supports one"
            )
        highest = section.get("max_version")
        suites = self.texts(section, "cipher_suites")
        named = [suite for suite in suites if suite not in CIPHERS_13]
        return TlsConfig(
            certificate=certificate,
            key=key,
            client_ca=client_ca,
            client_auth=client_auth,
            client_allowed_sans=sans,
            min_version=self.version(section.get("min_version", "TLS12"), "min_version"),
            max_version=self.version(highest, "max_version") if highest else "",
            ciphers=tuple(self.one_of(suite, CIPHERS, "cipher_suites") for suite in named),
            curve=curves[0] if curves else "",
            prefer_server_ciphers=bool(section.get("prefer_server_cipher_suites", True)),
        )

    def pem(self, section: Mapping[str, Any], name: str) -> Pem | None:
        text, file = section.get(name), section.get(f"{name}_file")
        if text and file:
            raise self.error(f"tls_server_config: {name} and {name}_file are both set; keep one")
        if file:
            return Pem(path=self._source.parent / str(file))
        return Pem(text=str(text)) if text else None

    def client_auth(self, section: Mapping[str, Any], client_ca: Pem | None) -> str:
        name = section.get("client_auth_type") or "NoClientCert"
        if name in ("RequestClientCert", "RequireAnyClientCert"):
            raise self.error(
                f"tls_server_config: client_auth_type {name} accepts unverified certificates, which Python does not support; use RequireAndVerifyClientCert"
            )
        kind = self.one_of(name, CLIENT_AUTH, "client_auth_type")
        if kind != "none" and not client_ca:
            raise self.error(f"tls_server_config: client_auth_type {name} needs client_ca_file")
        if kind == "none" and client_ca:
            raise self.error(
                "tls_server_config: client_ca_file is set, but client_auth_type requests no certificate; set RequireAndVerifyClientCert"
            )
        return kind

    def version(self, name: object, key: str) -> str:
        if name in OLD_VERSIONS:
            raise self.error(
                f"tls_server_config: {key} {name} is insecure; the oldest supported version is TLS12"
            )
        return self.one_of(name, VERSIONS, key)

    def texts(self, section: Mapping[str, Any], key: str) -> tuple[str, ...]:
        values = section.get(key) or []
        if not isinstance(values, list) or not all(isinstance(text, str) for text in values):
            raise self.error(f"tls_server_config: {key} is not a list of strings")
        return tuple(values)

    def one_of(self, name: object, known: Mapping[str, str], key: str) -> str:
        if isinstance(name, str) and name in known:
            return known[name]
        raise self.error(f'tls_server_config: {key} "{name}" is not one of {", ".join(known)}')
