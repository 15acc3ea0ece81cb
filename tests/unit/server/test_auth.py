"""Who may: rules that ask for less than those in force are refused until a restart."""

from pathlib import Path

import bcrypt
import pytest

from receiver.errors import SettingsError
from receiver.server.auth import Rules, cost_of, matches, refuse_weaker
from receiver.server.web_config import Pem, TlsConfig, WebConfig

PEM = Pem(Path("x"))
USERS = {"prom": "$2b$10$fsoi/x8GMMkE9G7JnVmIW.2UkBW8lEzPLcYt1iTTLSR1O1r3TlFwS"}


def tls(auth: str = "none", *, sans: tuple[str, ...] = (), version: str = "TLSv1_2") -> TlsConfig:
    """A TLS configuration."""
    return TlsConfig(PEM, PEM, client_auth=auth, client_allowed_sans=sans, min_version=version)


def rules(*, tls: TlsConfig | None = None, users: bool = False, token: bytes = b"") -> Rules:
    """Rules as read from files."""
    return Rules(WebConfig(tls=tls, users=USERS if users else {}), token=token)


@pytest.mark.parametrize(
    ("old", "new", "lost"),
    [
        (rules(users=True), rules(), "no users and no token"),
        (rules(token=b"secret"), rules(), "no users and no token"),
        (rules(tls=tls(), users=True), rules(tls=tls()), "no users and no token"),
        (rules(tls=tls(), users=True), rules(users=True), "no TLS"),
        (rules(tls=tls("required")), rules(tls=tls("optional")), "certificates are optional"),
        (rules(tls=tls("required")), rules(tls=tls()), "client certificates are not requested"),
        (rules(tls=tls("optional")), rules(tls=tls()), "client certificates are not requested"),
        (rules(tls=tls("required", sans=("a",))), rules(tls=tls("required")), "any name"),
        (rules(tls=tls(version="TLSv1_3")), rules(tls=tls()), "TLS from TLSv1_2"),
        (rules(token=b"secret"), rules(token=b"sec"), "a prefix of the previous one"),
    ],
)  # fmt: skip
def test_rules_that_ask_for_less_are_refused(old: Rules, new: Rules, lost: str) -> None:
    """Whatever an emptied or cut file leaves out; the sentence says what, and what to do."""
    with pytest.raises(SettingsError) as refused:
        refuse_weaker(new, old)
    assert lost in str(refused.value)
    assert "restart" in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (rules(), rules()),
        (rules(), rules(tls=tls("required"), users=True)),
        (rules(users=True), rules(token=b"secret")),
        (rules(token=b"secret"), rules(token=b"another")),
        (rules(token=b"secret"), rules(token=b"secret, longer")),
        (rules(tls=tls("required", sans=("a",))), rules(tls=tls("required", sans=("b",)))),
        (rules(tls=tls()), rules(tls=tls("required", version="TLSv1_3"))),
    ],
)
def test_other_rules_are_taken(old: Rules, new: Rules) -> None:
    """New users, tokens and certificates are what files are followed for."""
    refuse_weaker(new, old)


@pytest.mark.parametrize("user", ["cheap", "middle", "dear", "nobody"])
def test_a_wrong_password_takes_the_same_time_for_all(user: str) -> None:
    """Whoever it is for, as long as the costliest hash; counted in rounds of bcrypt."""
    users = {
        "cheap": USERS["prom"].replace("$10$", "$04$"),
        "middle": USERS["prom"],
        "dear": USERS["prom"].replace("$10$", "$14$"),
    }
    rounds = 0

    def checkpw(_: bytes, hashed: bytes) -> bool:
        nonlocal rounds
        rounds += 2 ** cost_of(hashed.decode())
        return False

    assert not matches(b"wrong", users.get(user, "").encode(), users.values(), checkpw)
    assert rounds == 2**14


def test_dummies_are_hashes() -> None:
    """Bcrypt does its work on them; it would refuse what is none at once."""
    checked: list[bytes] = []

    def checkpw(password: bytes, hashed: bytes) -> bool:
        checked.append(hashed)
        return bcrypt.checkpw(password, hashed)

    low, high = (bcrypt.hashpw(b"right", bcrypt.gensalt(cost)).decode() for cost in (4, 6))
    assert not matches(b"wrong", low.encode(), [low, high], checkpw)
    assert [cost_of(hashed.decode()) for hashed in checked] == [4, 4, 5]
    assert matches(b"right", low.encode(), [low, high], checkpw)
    assert not matches(b"right", b"", [low, high], checkpw)
    assert not matches(b"a\0b", high.encode(), [low, high])
