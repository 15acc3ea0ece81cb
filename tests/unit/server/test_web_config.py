"""A web.config.file is read, or refused with a sentence that names it and no secret."""

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import SettingsError
from receiver.server.web_config import (
    CIPHERS,
    CIPHERS_13,
    CURVES,
    VERSIONS,
    Pem,
    TlsConfig,
    WebConfig,
    parse,
)

FILE = Path("conf/web.yml")


@pytest.mark.parametrize(
    "text", ["a: [", "a: 2020-13-45", "a: " + "9" * 5000, "[" * 3000, "- 1", "5", "a: !!python/x y", "\x00"]
)  # fmt: skip
def test_what_yaml_cannot_read_is_a_sentence(text: str) -> None:
    """A date that is none, a number without end and brackets without end are no YAMLError."""
    with pytest.raises(SettingsError) as refused:
        parse(text, FILE)
    assert str(refused.value).startswith(f"{FILE}: ")
    assert len(str(refused.value)) < 200


@given(st.text(alphabet="a:-[]{}'\"!&*#|>%@,? \n0129", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """And nothing else is raised."""
    for each in (text, f"tls_server_config: {text}", f"basic_auth_users: {text}"):
        try:
            assert isinstance(parse(each, FILE), WebConfig)
        except SettingsError as error:
            assert str(error).startswith(f"{FILE}: ")  # noqa: PT017 - or nothing was raised


@pytest.mark.parametrize(
    "text",
    [
        "a: *hunter2SECRET", "a: !hunter2SECRET x", "a: !!int ''", "a: !!float ''", "a: !!timestamp x",
        "a: !!bool hunter2SECRET", "a: !!python/object:hunter2SECRET {}", "a: &hunter2SECRET b\nc: &hunter2SECRET d",
        'a: "\\hunter2SECRET"', "a: |hunter2SECRET\n", "a: 'hunter2SECRET", "%hunter2SECRET x\n---\n- a\n  b",
        "basic_auth_users: {prom: hunter2SECRET", "hunter2SECRET", "- hunter2SECRET", "<<: hunter2SECRET",
        "basic_auth_users: {prom: hunter2SECRET}", "tls_server_config: {cert: hunter2SECRET}",
    ],
)  # fmt: skip
def test_no_error_quotes_a_secret(text: str) -> None:
    """Whatever stands where, and whatever YAML says of it; the place is named."""
    with pytest.raises(SettingsError) as refused:
        parse(text, Path("web.yml"))
    assert "hunter2" not in str(refused.value)
    assert str(refused.value).startswith("web.yml: ")


@pytest.mark.parametrize("text", ["", "\n", "# all is commented out\n", "---\n"])
def test_an_empty_file_is_refused(text: str) -> None:
    """A full disk leaves one: it asks nobody for anything, which has to be written out."""
    with pytest.raises(SettingsError, match="the file is empty"):
        parse(text, Path("web.yml"))
    assert parse("{}", Path("web.yml")) == WebConfig()


def test_a_key_that_is_there_twice_is_refused() -> None:
    """The second would win, and might ask nobody for anything."""
    text = "basic_auth_users: {a: b}\nbasic_auth_users: {}\n"
    with pytest.raises(SettingsError, match="line 2, column 1: not YAML: duplicate key"):
        parse(text, Path("web.yml"))


HASH = "$2b$10$fsoi/x8GMMkE9G7JnVmIW.2UkBW8lEzPLcYt1iTTLSR1O1r3TlFwS"
FULL = f"""
tls_server_config:
  cert_file: cert.pem
  key: "a key"
  client_ca_file: /etc/ca.pem
  client_auth_type: RequireAndVerifyClientCert
  client_allowed_sans: [a.example, b.example]
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_RSA_WITH_AES_256_GCM_SHA384]
  curve_preferences: [CurveP256]
  prefer_server_cipher_suites: false
http_server_config:
  http2: true
  headers: {{X-Frame-Options: SAMEORIGIN, Strict-Transport-Security: max-age=1}}
basic_auth_users:
  prom: {HASH}
  7: {HASH}
"""


def test_all_that_the_format_has() -> None:
    """Paths are relative to the file; a key may stand in the text."""
    assert parse(FULL, FILE) == WebConfig(
        TlsConfig(
            certificate=Pem(Path("conf/cert.pem")),
            key=Pem(text="a key"),
            client_ca=Pem(Path("/etc/ca.pem")),
            client_auth="required",
            client_allowed_sans=("a.example", "b.example"),
            min_version="TLSv1_2",
            max_version="TLSv1_3",
            ciphers=("ECDHE-RSA-AES128-GCM-SHA256", "AES256-GCM-SHA384"),
            curve="prime256v1",
            prefer_server_ciphers=False,
        ),
        users={"prom": HASH, "7": HASH},
        headers={"X-Frame-Options": "SAMEORIGIN", "Strict-Transport-Security": "max-age=1"},
    )
    files = (Path("conf/cert.pem"), Path("/etc/ca.pem"))
    assert parse(FULL, FILE).tls.files == files  # type: ignore[union-attr]


def test_what_is_left_out_has_the_format_s_defaults() -> None:
    """TLS 1.2 on, no client's certificate, the server's order of ciphers."""
    found = parse("tls_server_config: {cert_file: a, key_file: b}", FILE)
    assert found == WebConfig(TlsConfig(Pem(Path("conf/a")), Pem(Path("conf/b"))))
    assert found.tls
    assert found.tls.prefer_server_ciphers
    assert (found.tls.min_version, found.tls.max_version, found.tls.curve) == ("TLSv1_2", "", "")


def test_openssl_knows_each_name() -> None:
    """Of a cipher suite, of a curve, of a version; Go's names are those of the format's page."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for go, name in CIPHERS.items():
        context.set_ciphers(name)
        parts = go.removeprefix("TLS_").replace("_WITH", "").split("_")
        shown = name.replace("AES128", "AES-128").replace("AES256", "AES-256").split("-")
        assert [p for p in parts if p not in {"RSA", "CBC", "SHA256"}] == [p for p in shown if p not in {"RSA", "SHA256"}]  # fmt: skip
    assert len(CIPHERS) == 12
    for go, name in CURVES.items():
        context.set_ecdh_curve(name)
        bits = go.removeprefix("CurveP")
        assert name in {f"secp{bits}r1", f"prime{bits}v1", "X25519"}
        assert (go == name) is (name == "X25519")
    assert len(CURVES) == 4
    for go, name in VERSIONS.items():
        assert ssl.TLSVersion[name].name.replace("v1_", "1") == go
    assert {cipher["name"] for cipher in ssl.create_default_context().get_ciphers()} >= set(CIPHERS_13)  # fmt: skip
    assert len(CIPHERS_13) == 3


def test_each_header_of_the_format_may_be_set() -> None:
    """Those of the format's page, and no other."""
    headers = {
        "Strict-Transport-Security": "max-age=1",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "deny",
        "X-XSS-Protection": "0",
        "Content-Security-Policy": "default-src 'self'",
    }
    text = "http_server_config:\n  headers:\n" + "".join(f'    {name}: "{value}"\n' for name, value in headers.items())  # fmt: skip
    assert parse(text, FILE).headers == headers


def test_each_suite_and_curve_may_be_named() -> None:
    """Those of TLS 1.3 are always on: named or not."""
    suites = ", ".join((*CIPHERS, *CIPHERS_13))
    for curve in CURVES:
        found = parse(f"tls_server_config: {{{TLS}, cipher_suites: [{suites}], curve_preferences: [{curve}]}}", FILE).tls  # fmt: skip
        assert found
        assert found.ciphers == tuple(CIPHERS.values())
        assert found.curve == CURVES[curve]


TLS = "cert_file: a, key_file: b"


@pytest.mark.parametrize(
    ("tls", "auth"),
    [
        (TLS, "none"),
        (f"{TLS}, client_auth_type: NoClientCert", "none"),
        (f"{TLS}, client_auth_type: ''", "none"),
        (f"{TLS}, client_auth_type: VerifyClientCertIfGiven, client_ca_file: c", "optional"),
        (f"{TLS}, client_auth_type: RequireAndVerifyClientCert, client_ca: text", "required"),
    ],
)
def test_who_needs_a_certificate(tls: str, auth: str) -> None:
    """As the format's page has it."""
    found = parse(f"tls_server_config: {{{tls}}}", FILE).tls
    assert found
    assert found.client_auth == auth


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tls_server_confg: {}", 'unknown key "tls_server_confg"; did you mean "tls_server_config"?'),
        ("zzz: {}", 'unknown key "zzz"; known are tls_server_config, http_server_config, basic_auth_users'),
        ("http_server_config: {http3: true}", 'http_server_config: unknown key "http3"; did you mean "http2"?'),
        ("http_server_config: {headers: {X-Other: a}}", 'http_server_config.headers: unknown key "X-Other"'),
        ("http_server_config: {headers: a}", "http_server_config.headers is not a mapping"),
        ("http_server_config: [a]", "http_server_config is not a mapping"),
        ("tls_server_config: 5", "tls_server_config is not a mapping"),
        ("basic_auth_users: [a]", "basic_auth_users is not a mapping"),
        ('http_server_config: {headers: {X-Frame-Options: "a\\nB: c"}}', "http_server_config.headers.X-Frame-Options is not one line"),
        ('http_server_config: {headers: {X-Frame-Options: "a\\x7f"}}', "X-Frame-Options is not one line"),
        ("http_server_config: {headers: {X-Frame-Options: 5}}", "X-Frame-Options is not one line"),
        ("basic_auth_users: {prom: 5}", 'basic_auth_users: the password of "prom" is not a bcrypt hash'),
        (f"basic_auth_users: {{prom: {HASH}x}}", 'the password of "prom" is not a bcrypt hash'),
        (f"basic_auth_users: {{prom: {HASH[:-1]}}}", 'the password of "prom" is not a bcrypt hash'),
        ("tls_server_config: {key_file: b}", "tls_server_config: cert_file is missing"),
        ("tls_server_config: {cert_file: a}", "tls_server_config: key_file is missing"),
        (f"tls_server_config: {{{TLS}, cert: a}}", "cert and cert_file are both set; keep one"),
        (f"tls_server_config: {{{TLS}, keyfile: b}}", 'tls_server_config: unknown key "keyfile"; did you mean "key_file"?'),
        (f"tls_server_config: {{{TLS}, client_auth_type: RequestClientCert, client_ca_file: c}}", "client_auth_type RequestClientCert accepts unverified certificates"),
        (f"tls_server_config: {{{TLS}, client_auth_type: RequireAnyClientCert, client_ca_file: c}}", "client_auth_type RequireAnyClientCert accepts unverified certificates"),
        (f"tls_server_config: {{{TLS}, client_auth_type: Other}}", 'client_auth_type "Other" is not one of NoClientCert, Verify'),
        (f"tls_server_config: {{{TLS}, client_auth_type: RequireAndVerifyClientCert}}", "client_auth_type RequireAndVerifyClientCert needs client_ca_file"),
        (f"tls_server_config: {{{TLS}, client_ca_file: c}}", "client_ca_file is set, but client_auth_type requests no certificate"),
        (f"tls_server_config: {{{TLS}, client_allowed_sans: [a]}}", "client_allowed_sans needs client_auth_type RequireAndVerifyClientCert"),
        (f"tls_server_config: {{{TLS}, client_allowed_sans: [a], client_auth_type: VerifyClientCertIfGiven, client_ca_file: c}}", "client_allowed_sans needs"),
        (f"tls_server_config: {{{TLS}, client_allowed_sans: a}}", "client_allowed_sans is not a list of strings"),
        (f"tls_server_config: {{{TLS}, cipher_suites: [5]}}", "cipher_suites is not a list of strings"),
        (f"tls_server_config: {{{TLS}, cipher_suites: [TLS_OTHER]}}", 'cipher_suites "TLS_OTHER" is not one of TLS_ECDHE'),
        (f"tls_server_config: {{{TLS}, curve_preferences: [CurveP256, X25519]}}", "curve_preferences names several curves"),
        (f"tls_server_config: {{{TLS}, curve_preferences: [P]}}", 'curve_preferences "P" is not one of CurveP256'),
        (f"tls_server_config: {{{TLS}, min_version: TLS10}}", "min_version TLS10 is insecure; the oldest supported version is TLS12"),
        (f"tls_server_config: {{{TLS}, max_version: TLS11}}", "max_version TLS11 is insecure"),
        (f"tls_server_config: {{{TLS}, min_version: 12}}", 'min_version "12" is not one of TLS12, TLS13'),
        (f"tls_server_config: {{{TLS}, max_version: TLS14}}", 'max_version "TLS14" is not one of TLS12, TLS13'),
        ("a: [", "line 1, column 5: not YAML"),
        ("a: !!int ''", "not YAML: IndexError"),
        ("- a", "the file is not a mapping"),
    ],
)  # fmt: skip
def test_each_slip_has_its_place(text: str, said: str) -> None:
    """And the nearest right spelling; the file comes first."""
    with pytest.raises(SettingsError) as refused:
        parse(text, FILE)
    assert str(refused.value).startswith(f"{FILE}: ")
    assert said in str(refused.value)


def test_nothing_secret_is_shown() -> None:
    """In no log that has one of these values in it."""
    shown = repr(parse(FULL, FILE))
    assert "a key" not in shown
    assert HASH not in shown
