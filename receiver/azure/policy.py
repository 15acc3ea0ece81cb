"""What becomes of a batch, by the answer to it: the one table, each row with its why.

In: a status, what its body is, and what it says. Out: the `Rule` that holds. Pure values;
docs/delivery.md shows the table as it stands here, docs/answers.md what it makes of real
answers, and tests/integration/test_answers.py holds a running receiver to it.

Three principles. Only the service accepts or rejects an item: its own body says so, and
without it every item is kept. What a person can mend costs no data. Whoever refuses is
asked a handful of times a minute at most.
Source: Application Insights' /v2.1/track contract (swagger v2.1), and what its SDKs do,
status by status.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """What to do with the batch as a whole."""

    SETTLE = "settle"
    """The service has judged the items: write it down."""
    UNCONFIRMED = "unconfirmed"
    """Accepted by the status alone, and counted as unconfirmed."""
    RETRY = "retry"
    """A passing fault: back off, and send the batch again."""
    THROTTLE = "throttle"
    """Too much at once: wait as long as told."""
    QUOTA = "quota"
    """The daily or monthly volume is used up: wait long, then probe with one batch."""
    BLOCKED = "blocked"
    """Something must be set right by a person: keep everything, ask again slowly."""
    SPLIT = "split"
    """Send it in halves; a single item comes to its end, or is kept, as the rule's why says."""


class Body(Enum):
    """What the body of an answer is."""

    ITEMS = "the service's, on the items"
    CONFIGURATION = "the service's, one message for all items that is about none of them"
    UNREAD = "the service's: it could not read the request"
    MISSING = "empty, or cut off"
    FOREIGN = "anything else"

    @property
    def is_the_services(self) -> bool:
        """Whether the service itself has spoken."""
        return self not in (Body.MISSING, Body.FOREIGN)


SERVICE = frozenset({Body.ITEMS, Body.CONFIGURATION, Body.UNREAD})
ANY = frozenset(Body)
UNSAID = ANY - SERVICE

ITEM_ACTIONS = {
    401: Action.BLOCKED, 403: Action.BLOCKED,
    402: Action.QUOTA, 439: Action.QUOTA,
    429: Action.THROTTLE,
    408: Action.RETRY, 500: Action.RETRY, 502: Action.RETRY, 503: Action.RETRY, 504: Action.RETRY,
}  # fmt: skip
"""An item's own status that says "not now": it is sent again, and the way waits as this says.

Any other says "never".
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table. `words` and `signed_in`, where set, must fit as well.

    `hint` tells an operator what to do; `why` is for readers of the table.
    `about_the_body`: the batch may be damaged, which the disk alone would know.
    """

    statuses: tuple[int | range, ...]
    bodies: frozenset[Body]
    action: Action
    why: str
    hint: str = ""
    words: str = ""
    signed_in: bool | None = None
    about_the_body: bool = False

    def holds(self, status: int, body: Body, words: str, *, signed_in: bool) -> bool:
        """Whether this row speaks of an answer."""
        return (
            any(status == each or (isinstance(each, range) and status in each) for each in self.statuses)
            and body in self.bodies
            and self.signed_in in (None, signed_in)
            and re.search(self.words, words, re.IGNORECASE) is not None
        )  # fmt: skip


_TAKEN = (range(200, 300), 400)
_COPY = "Copy the connection string again, whole, from the resource's Overview page."
_GO_BETWEEN = "Something answers in the service's place, a proxy, a gateway or a portal: check HTTPS_PROXY, NO_PROXY and IngestionEndpoint."
_PASSES = "The service's own trouble: everything is kept and sent again; see Azure's status page if it lasts."
_PRIVATE = "The resource takes nothing from this network: use its private link (private DNS zone), or allow ingestion from public networks under Network Isolation."

RULES = (
    Rule(_TAKEN, frozenset({Body.ITEMS}), Action.SETTLE,
         'The service has judged the items: those that `errors` does not list are accepted, as far as `itemsAccepted` bears it out; those with an item status that says "not now" are sent again, the others are rejected.',
         about_the_body=True),
    Rule(_TAKEN, frozenset({Body.CONFIGURATION}), Action.BLOCKED,
         "The key is mistyped, or another resource's: no fault of the items.",
         f"The instrumentation key is not the resource's. {_COPY}", words="instrumentation key"),
    Rule(_TAKEN, frozenset({Body.CONFIGURATION}), Action.BLOCKED,
         "The resource takes Microsoft Entra ID only, and no token was sent.",
         "The resource wants the receiver to sign in: set APPLICATIONINSIGHTS_AUTHENTICATION_STRING=Authorization=AAD.", words="authentication"),
    Rule(_TAKEN, frozenset({Body.CONFIGURATION}), Action.BLOCKED,
         "A network security perimeter, or a resource that wants its own endpoint.",
         f"The resource takes nothing at this address. {_COPY}", words="connection string|nsp"),
    Rule(_TAKEN, frozenset({Body.CONFIGURATION}), Action.BLOCKED,
         "One message for every item that is about none of them speaks of how they are sent; a person can mend that, and then they are taken.",
         "The service refuses all items with these words: look at the resource's settings, and at the connection string.",
         about_the_body=True),
    Rule((400,), frozenset({Body.UNREAD}), Action.SPLIT,
         "One line that cannot be read fails the whole request: halves find it. A single item is rejected with the service's words.",
         "The service cannot read the request: it is sent again in halves, to find the item.", about_the_body=True),
    Rule((200,), frozenset({Body.MISSING}), Action.UNCONFIRMED,
         "The service's 200 whose body was lost on the way looks like this, and sending again would double every item.",
         "A 200 came without the service's body: does a proxy answer in its place? Look whether the items arrive."),
    Rule((206,), frozenset({Body.MISSING}), Action.RETRY,
         "Some items were not accepted, and what says which is lost: the batch is sent again, after the others.",
         "The service accepted some items, and its answer broke off: the batch is sent again."),
    Rule((range(200, 300),), UNSAID, Action.BLOCKED,
         "The service's 2xx has the service's body. A proxy, a portal or another server has answered: nothing was delivered.",
         _GO_BETWEEN),
    Rule((400,), UNSAID, Action.BLOCKED,
         "The service's 400 says which items it refuses; a gateway's knows nothing of them, and rejects none.",
         _GO_BETWEEN, about_the_body=True),
    Rule((413,), SERVICE, Action.SPLIT,
         "Too large for the service: halves may fit. A single item is rejected with the service's words.",
         "The batch is too large for the service: it is sent again in halves.", about_the_body=True),
    Rule((413,), UNSAID, Action.SPLIT,
         "Too large for something on the way: halves may fit. A single item is kept, for a gateway rejects none.",
         "A proxy or gateway takes smaller requests only: raise its limit (nginx: client_max_body_size) to 1 MiB.", about_the_body=True),
    Rule((429,), ANY, Action.THROTTLE,
         "More arrives than is taken at once.",
         "More arrives than the service takes at once: everything is kept and sent again; if it lasts, select less."),
    Rule((402, 439), ANY, Action.QUOTA,
         "The volume of the day or the month is used up, which lasts for hours; one small batch asks now and then.",
         "The daily cap is reached: raise it under Usage and estimated costs, or send fewer metrics."),
    Rule((401,), ANY, Action.BLOCKED,
         "The token is expired, or of another tenant; a new one was tried at once.",
         "The service refuses the token: is the identity of the resource's tenant, and the audience right?", signed_in=True),
    Rule((401,), ANY, Action.BLOCKED,
         "The resource takes Microsoft Entra ID only, or a proxy wants a user.",
         "The resource wants the receiver to sign in with Microsoft Entra ID: set APPLICATIONINSIGHTS_AUTHENTICATION_STRING=Authorization=AAD."),
    Rule((403,), ANY, Action.BLOCKED,
         "The network is shut: private link, or a network security perimeter.",
         _PRIVATE, words="private|network|perimeter|nsp"),
    Rule((403,), frozenset({Body.FOREIGN}), Action.BLOCKED,
         "A page instead of the service's words: a proxy or a firewall forbids it.",
         "A proxy or firewall forbids the request: let it through to the ingestion endpoint, or name the proxy in HTTPS_PROXY.", words="^ *<"),
    Rule((403,), ANY, Action.BLOCKED,
         "The identity may not write.",
         "The identity lacks the role Monitoring Metrics Publisher on the Application Insights resource; a new role takes some minutes.", signed_in=True),
    Rule((403,), ANY, Action.BLOCKED,
         "No identity is configured, so no role is missing: the network is shut, or a firewall forbids it.",
         f"The request is forbidden, and no identity is configured: a firewall or proxy forbids it, or: {_PRIVATE}"),
    Rule((404,), ANY, Action.BLOCKED,
         "The global endpoint does not take this resource's items.",
         f"The resource takes items at its region's endpoint only. {_COPY}", words="stamp specific"),
    Rule((404, 405), ANY, Action.BLOCKED,
         "The address is no ingestion endpoint.",
         "No ingestion endpoint listens at that address: check IngestionEndpoint in the connection string."),
    Rule((407,), ANY, Action.BLOCKED,
         "The proxy wants a user.",
         "The proxy wants credentials: put them into HTTPS_PROXY."),
    Rule((511,), ANY, Action.BLOCKED,
         "The network wants a sign-in first (RFC 6585); the service never says so.",
         "The network's portal wants a sign-in before it lets anything out: let this machine through, or use HTTPS_PROXY."),
    Rule((415, 422), ANY, Action.BLOCKED,
         "The service knows the type that is sent: something else has read it, or the batch is damaged.",
         _GO_BETWEEN, about_the_body=True),
    Rule((408, range(500, 600)), ANY, Action.RETRY,
         "Passing faults, whoever has them.",
         _PASSES, about_the_body=True),
    Rule((range(1000),), ANY, Action.BLOCKED,
         "No ingestion endpoint answers so. 307 and 308 are followed before this table is asked.",
         "That is not how an ingestion endpoint answers: check the connection string and proxies."),
)  # fmt: skip
"""The table: the first row that holds counts."""


def rule_for(status: int, body: Body, words: str, *, signed_in: bool) -> Rule:
    """Find the row for an answer; there is one for each."""
    return next(
        rule for rule in RULES if rule.holds(min(status, 999), body, words, signed_in=signed_in)
    )


def statuses_of(rule: Rule) -> Iterator[str]:
    """Spell the statuses of a row: 402, 2xx."""
    for each in rule.statuses:
        if isinstance(each, int):
            yield str(each)
        else:
            yield f"{each.start // 100}xx" if len(each) == 100 else "any other"
