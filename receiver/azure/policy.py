"""The table of answers: what happens to a batch, and why.

In: a status, the kind of its body, and its message. Out: the first matching `Rule`. Pure
values; docs/delivery.md shows this table, docs/answers.md its results on real answers, and
tests/integration/test_answers.py checks a running receiver against it.

Three principles. Only the service accepts or rejects an item, and only by its own body;
without that every item is kept. A wrong configuration costs no data. A service that
refuses gets only a few requests a minute.
Source: Application Insights' /v2.1/track contract (swagger v2.1), and what its SDKs do,
status by status.
"""

import re
from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """The treatment of the whole batch."""

    SETTLE = "settle"
    """The service has judged the items: record the result."""
    UNCONFIRMED = "unconfirmed"
    """Accepted by the status alone: counted as unconfirmed."""
    RETRY = "retry"
    """A transient fault: back off, and send the batch again."""
    THROTTLE = "throttle"
    """Too many requests: wait as long as the answer asks."""
    QUOTA = "quota"
    """The daily or monthly quota is used up: wait long, then probe with one batch."""
    BLOCKED = "blocked"
    """An operator must correct the configuration: keep everything, and probe slowly."""
    SPLIT = "split"
    """Send the batch in halves; a single item is rejected or kept, as the rule's why says."""


class Body(Enum):
    """The kind of an answer's body."""

    ITEMS = "the service's, on the items"
    CONFIGURATION = "the service's: one message for the whole batch"
    UNREAD = "the service's: it could not read the request"
    MISSING = "empty, or cut off"
    FOREIGN = "anything else"

    @property
    def is_the_services(self) -> bool:
        """Whether the body is the service's own."""
        return self not in (Body.MISSING, Body.FOREIGN)


SERVICE = frozenset({Body.ITEMS, Body.CONFIGURATION, Body.UNREAD})
ANY = frozenset(Body)
NOT_SERVICE = ANY - SERVICE

ITEM_ACTIONS = {
    401: Action.BLOCKED, 403: Action.BLOCKED,
    402: Action.QUOTA, 439: Action.QUOTA,
    429: Action.THROTTLE,
    408: Action.RETRY, 500: Action.RETRY, 502: Action.RETRY, 503: Action.RETRY, 504: Action.RETRY,
}  # fmt: skip
"""Item statuses that mean "not now": the item is sent again, after a back-off of this kind.

Any other item status means "never".
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table. `message` and `signed_in`, where set, must match as well.

    `hint` is for operators, `why` for readers of the table. `about_the_body`: the cause may
    be a batch that was damaged on the disk.
    """

    statuses: tuple[int | range, ...]
    bodies: frozenset[Body]
    action: Action
    why: str
    hint: str = ""
    message: str = ""
    signed_in: bool | None = None
    about_the_body: bool = False

    def matches(self, status: int, body: Body, message: str, *, signed_in: bool) -> bool:
        """Whether this row matches an answer."""
        return (
            any(status == listed or (isinstance(listed, range) and status in listed) for listed in self.statuses)
            and body in self.bodies
            and self.signed_in in (None, signed_in)
            and re.search(self.message, message, re.IGNORECASE) is not None
        )  # fmt: skip


_TAKEN = (range(200, 300), 400)
_COPY = "Copy the complete connection string again from the resource's Overview page."
_GO_BETWEEN = "Another server answers instead of the service, such as a proxy, a gateway or a portal: check HTTPS_PROXY, NO_PROXY and IngestionEndpoint."
_PASSES = "A fault of the service: everything is kept and sent again; see Azure's status page if it persists."
_PRIVATE = "The resource refuses this network: use its private link (private DNS zone), or allow ingestion from public networks under Network Isolation."

RULES = (
    Rule(_TAKEN, frozenset({Body.ITEMS}), Action.SETTLE,
         'The service has judged the items: those that `errors` does not list are accepted, up to the number in `itemsAccepted`; those with an item status that says "not now" are sent again, the others are rejected.',
         about_the_body=True),
    Rule(_TAKEN, frozenset({Body.CONFIGURATION}), Action.BLOCKED,
         "The key is mistyped, or another resource's; the items are valid.",
         f"The instrumentation key is not the resource's. {_COPY}", message="instrumentation key"),
    Rule(_TAKEN, frozenset({Body.CONFIGURATION}), Action.BLOCKED,
         "The resource requires Microsoft Entra ID, and no token was sent.",
         "The resource requires sign-in: set APPLICATIONINSIGHTS_AUTHENTICATION_STRING=Authorization=AAD.", message="authentication"),
    Rule(_TAKEN, frozenset({Body.CONFIGURATION}), Action.BLOCKED,
         "A network security perimeter, or a resource that requires its own endpoint.",
         f"The resource refuses items at this address. {_COPY}", message="connection string|nsp"),
    Rule(_TAKEN, frozenset({Body.CONFIGURATION}), Action.BLOCKED,
         "One message for the whole batch, about none of its items, concerns how they are sent; once an operator corrects that, they are accepted.",
         "The service refuses all items with this message: check the resource's settings and the connection string.",
         about_the_body=True),
    Rule((400,), frozenset({Body.UNREAD}), Action.SPLIT,
         "One unreadable line fails the whole request; sending halves isolates it. A single item is rejected with the service's message.",
         "The service cannot read the request: it is sent again in halves, to isolate the item.", about_the_body=True),
    Rule((200,), frozenset({Body.MISSING}), Action.UNCONFIRMED,
         "A 200 of the service whose body was lost looks like this, and sending again would duplicate every item.",
         "A 200 came without the service's body; a proxy may have answered instead. Check that the items arrive."),
    Rule((206,), frozenset({Body.MISSING}), Action.RETRY,
         "Some items were not accepted, but the list of them was lost: the batch is sent again, after the others.",
         "The service accepted some items, but its answer was truncated: the batch is sent again."),
    Rule((range(200, 300),), NOT_SERVICE, Action.BLOCKED,
         "A 2xx of the service has the service's body. Here a proxy, a portal or another server answered: nothing was delivered.",
         _GO_BETWEEN),
    Rule((400,), NOT_SERVICE, Action.BLOCKED,
         "A 400 of the service names the items that it refuses; a gateway's 400 is not about items, and rejects none.",
         _GO_BETWEEN, about_the_body=True),
    Rule((413,), SERVICE, Action.SPLIT,
         "Too large for the service: halves may fit. A single item is rejected with the service's message.",
         "The batch is too large for the service: it is sent again in halves.", about_the_body=True),
    Rule((413,), NOT_SERVICE, Action.SPLIT,
         "Too large for a proxy or gateway: halves may fit. A single item is kept, since a gateway cannot reject items.",
         "A proxy or gateway accepts only smaller requests: raise its limit (nginx: client_max_body_size) to 1 MiB.", about_the_body=True),
    Rule((429,), ANY, Action.THROTTLE,
         "The rate is above the service's limit.",
         "The rate is above the service's limit: everything is kept and sent again; if it persists, select fewer metrics."),
    Rule((402, 439), ANY, Action.QUOTA,
         "The daily or monthly quota is used up, usually for hours; one small batch probes now and then.",
         "The daily cap is reached: raise it under Usage and estimated costs, or send fewer metrics."),
    Rule((401,), ANY, Action.BLOCKED,
         "The token is expired, or of another tenant; a new one was tried at once.",
         "The service refuses the token: check that the identity belongs to the resource's tenant, and that the audience is right.", signed_in=True),
    Rule((401,), ANY, Action.BLOCKED,
         "The resource requires Microsoft Entra ID, or a proxy requires credentials.",
         "The resource requires sign-in with Microsoft Entra ID: set APPLICATIONINSIGHTS_AUTHENTICATION_STRING=Authorization=AAD."),
    Rule((403,), ANY, Action.BLOCKED,
         "The network is restricted: private link, or a network security perimeter.",
         _PRIVATE, message="private|network|perimeter|nsp"),
    Rule((403,), frozenset({Body.FOREIGN}), Action.BLOCKED,
         "A page instead of the service's message: a proxy or a firewall blocks the request.",
         "A proxy or firewall blocks the request: allow it to the ingestion endpoint, or set the proxy in HTTPS_PROXY.", message="^ *<"),
    Rule((403,), ANY, Action.BLOCKED,
         "The identity is not allowed to write.",
         "The identity lacks the role Monitoring Metrics Publisher on the Application Insights resource; a new role takes effect after some minutes.", signed_in=True),
    Rule((403,), ANY, Action.BLOCKED,
         "No identity is configured, so no role is missing: the network is restricted, or a firewall blocks the request.",
         f"The request is forbidden, and no identity is configured: a firewall or proxy blocks it, or: {_PRIVATE}"),
    Rule((404,), ANY, Action.BLOCKED,
         "The global endpoint does not accept this resource's items.",
         f"The resource accepts items only at its region's endpoint. {_COPY}", message="stamp specific"),
    Rule((404, 405), ANY, Action.BLOCKED,
         "The address is not an ingestion endpoint.",
         "That address is not an ingestion endpoint: check IngestionEndpoint in the connection string."),
    Rule((407,), ANY, Action.BLOCKED,
         "The proxy requires credentials.",
         "The proxy requires credentials: put them into HTTPS_PROXY."),
    Rule((511,), ANY, Action.BLOCKED,
         "The network requires a sign-in (RFC 6585); the service never answers with this status.",
         "The network's portal requires a sign-in: exempt this machine, or use HTTPS_PROXY."),
    Rule((415, 422), ANY, Action.BLOCKED,
         "The service supports the type that is sent: another server answered, or the batch is damaged.",
         _GO_BETWEEN, about_the_body=True),
    Rule((408, range(500, 600)), ANY, Action.RETRY,
         "Transient faults of the service or of a gateway.",
         _PASSES, about_the_body=True),
    Rule((range(1000),), ANY, Action.BLOCKED,
         "An ingestion endpoint has no other status. 307 and 308 are followed before this table applies.",
         "An ingestion endpoint does not answer like this: check the connection string and proxies."),
)  # fmt: skip
"""The table: the first matching row applies."""


def rule_for(status: int, body: Body, message: str, *, signed_in: bool) -> Rule:
    """Return the row for an answer; every answer has one."""
    return next(
        rule for rule in RULES if rule.matches(min(status, 999), body, message, signed_in=signed_in)
    )
