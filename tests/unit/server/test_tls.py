"""The TLS context: what the web configuration asks for, or a message that names the file."""

import os
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from receiver.errors import SettingsError
from receiver.server.tls import make_context
from receiver.server.web_config import Pem, TlsConfig

CA = trustme.CA()
ISSUED = CA.issue_cert("localhost")
CERT = b"".join(blob.bytes() for blob in ISSUED.cert_chain_pems).decode()
KEY = ISSUED.private_key_pem.bytes().decode()
CA_CERT = CA.cert_pem.bytes().decode()
CONFIG = TlsConfig(Pem(text=CERT), Pem(text=KEY))


def shake(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """Make a handshake in memory; returns the server's end. Raises: ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    ends[1].getpeercert()  # raises before the handshake is complete
    return ends[1]


def client(*, certificate: bool = False) -> ssl.SSLContext:
    """Make a client that trusts the CA, with a certificate of its own or without one."""
    context = ssl.create_default_context(cadata=CA_CERT)
    if certificate:
        CA.issue_cert("client.example").configure_cert(context)
    return context


@pytest.mark.parametrize("as_files", [True, False])
def test_a_certificate_is_a_file_or_a_text(tmp_path: Path, *, as_files: bool) -> None:
    """Both shake hands; of a text no file is left."""
    config, before = CONFIG, set(Path("/tmp").glob("receiver-*.pem"))
    if as_files:
        (tmp_path / "cert.pem").write_text(CERT)
        (tmp_path / "key.pem").write_text(KEY)
        config = TlsConfig(Pem(tmp_path / "cert.pem"), Pem(tmp_path / "key.pem"))
    assert shake(make_context(config, "web.yml"), client()).version() == "TLSv1.3"
    assert set(Path("/tmp").glob("receiver-*.pem")) <= before


@pytest.mark.parametrize(
    ("client_auth", "certificate", "taken"),
    [
        ("required", True, True),
        ("required", False, False),
        ("optional", True, True),
        ("optional", False, True),
        ("none", False, True),
    ],
)
def test_a_client_s_certificate_is_verified(
    client_auth: str, *, certificate: bool, taken: bool
) -> None:
    """By the CA of the configuration; `required` lets in nobody without one."""
    config = replace(
        CONFIG, client_ca=Pem(text=CA_CERT), client_auth=client_auth, max_version="TLSv1_2"
    )
    server = make_context(config, "web.yml")
    if taken:
        assert bool(shake(server, client(certificate=certificate)).getpeercert()) is certificate
    else:
        with pytest.raises(ssl.SSLError):
            shake(server, client(certificate=certificate))


def test_a_stranger_s_certificate_is_refused() -> None:
    """Even where a certificate is optional."""
    config = replace(
        CONFIG, client_ca=Pem(text=CA_CERT), client_auth="optional", max_version="TLSv1_2"
    )
    stranger = client()
    trustme.CA().issue_cert("client.example").configure_cert(stranger)
    with pytest.raises(ssl.SSLError):
        shake(make_context(config, "web.yml"), stranger)


def test_the_options_are_set() -> None:
    """Versions, ciphers, the curve, and whose order of ciphers counts, beside Python's own options."""
    config = replace(
        CONFIG,
        min_version="TLSv1_2",
        max_version="TLSv1_2",
        ciphers=("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
        curve="prime256v1",
    )
    context = make_context(config, "web.yml")
    assert (context.minimum_version, context.maximum_version) == (ssl.TLSVersion.TLSv1_2,) * 2
    chosen = {cipher["name"] for cipher in context.get_ciphers()}
    assert {*config.ciphers} <= chosen
    assert not {name for name in chosen if "AES256" in name and not name.startswith("TLS_")}
    assert shake(context, client()).cipher() in {(name, "TLSv1.2", 128) for name in config.ciphers}
    default, preference = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).options,
        ssl.OP_CIPHER_SERVER_PREFERENCE,
    )
    assert context.options == default
    assert default & preference
    context = make_context(replace(config, prefer_server_ciphers=False), "web.yml")
    assert context.options == default & ~preference


def encrypted() -> str:
    """Encrypt the key."""
    key = serialization.load_pem_private_key(KEY.encode(), None)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    password = serialization.BestAvailableEncryption(b"secret")
    return key.private_bytes(serialization.Encoding.PEM, form, password).decode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": Pem(Path("missing.pem"))}, "missing.pem: No such file or directory"),
        ({"client_ca": Pem(Path("missing.pem"))}, "missing.pem: No such file or directory"),
        ({"key": Pem(Path())}, ".: is a directory, not a file"),
        ({"certificate": Pem(text="nonsense")}, "tls_server_config: "),
        ({"key": Pem(text=CA.issue_cert("other").private_key_pem.bytes().decode())}, "mismatch"),
        ({"key": Pem(text=encrypted())}, "the key is encrypted"),
        ({"ciphers": ("NONE-SUCH",)}, "No cipher can be selected"),
        ({"curve": "none-such"}, "curve"),
    ],
)
def test_what_cannot_be_used_is_named(changes: dict[str, object], message: str) -> None:
    """With the configuration's name, and the file's where there is one; never a traceback."""
    with pytest.raises(SettingsError) as raised:
        make_context(replace(CONFIG, **changes), "web.yml")  # type: ignore[arg-type]
    text = str(raised.value)
    assert text.startswith("web.yml: tls_server_config: ")
    assert message in text


def test_a_pipe_in_the_place_of_a_key_does_not_block(tmp_path: Path) -> None:
    """OpenSSL would wait for a writer."""
    os.mkfifo(tmp_path / "key.pem")
    with pytest.raises(SettingsError, match=r"web.yml: tls_server_config: .*key.pem"):
        make_context(replace(CONFIG, key=Pem(tmp_path / "key.pem")), "web.yml")
