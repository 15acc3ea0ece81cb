"""The POST of a batch: redirects, one new token after a 401, and a cause for each missing answer."""

import asyncio
from collections.abc import Mapping

import pytest

from receiver.azure.redirect import LIMIT, Endpoint
from receiver.delivery.http_connection import Answer
from receiver.delivery.transport import HEADERS, Transport
from receiver.errors import Unreachable

URL = "https://westeurope-1.in.applicationinsights.azure.com/v2.1/track"
ELSEWHERE = "https://westeurope-9.in.applicationinsights.azure.com/v2.1/track"
ACCEPTED = Answer(200, {}, b"")


class Bench:
    """A transport between a service and a token issuer that are a few lines each."""

    def __init__(self, *answers: Answer | Exception, signed_in: bool = False) -> None:
        """Give the answers in turn; the last one for ever."""
        self.answers = list(answers)
        self.posts: list[tuple[str, Mapping[str, str], bytes]] = []
        self.refused_tokens: list[str] = []
        token = self.token if signed_in else None
        self.transport = Transport(self.send, Endpoint(URL, lambda: 0.0), token)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.posts.append((url, headers, body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def token(self, refused: str) -> str:
        self.refused_tokens.append(refused)
        return f"token {len(self.refused_tokens)}"

    def post(self) -> Answer:
        return asyncio.run(self.transport.post(b"body"))

    @property
    def urls(self) -> list[str]:
        return [url for url, _, _ in self.posts]

    @property
    def sign_ins(self) -> list[str]:
        return [headers["Authorization"] for _, headers, _ in self.posts]


def redirect(location: str, status: int = 308, cache_control: str = "") -> Answer:
    return Answer(status, {"Location": location, "Cache-Control": cache_control}, b"")


def test_without_sign_in_a_batch_is_posted_once() -> None:
    """With the headers of a gzip body, and without a token; a 401 is the answer."""
    bench = Bench(Answer(401, {}, b"no"))
    assert bench.post().status == 401
    assert bench.posts == [(URL, HEADERS, b"body")]


def test_after_a_401_the_batch_is_posted_once_more_with_a_new_token() -> None:
    """The refused token is named, so that the issuer does not give it again."""
    bench = Bench(Answer(401, {}, b""), ACCEPTED, signed_in=True)
    assert bench.post() is ACCEPTED
    assert bench.refused_tokens == ["", "token 1"]
    assert bench.sign_ins == ["Bearer token 1", "Bearer token 2"]


def test_a_second_401_is_the_answer() -> None:
    """The resource refuses the identity: a third token would not help."""
    bench = Bench(Answer(401, {}, b""), signed_in=True)
    assert bench.post().status == 401
    assert len(bench.posts) == 2


def test_a_token_that_is_accepted_is_not_replaced() -> None:
    """Other refusals are not about the token."""
    bench = Bench(Answer(403, {}, b""), signed_in=True)
    assert bench.post().status == 403
    assert bench.sign_ins == ["Bearer token 1"]
    assert bench.refused_tokens == [""]


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_is_followed_with_body_and_token_and_remembered(status: int) -> None:
    """The next batch goes to the target at once."""
    bench = Bench(redirect(ELSEWHERE, status), ACCEPTED, signed_in=True)
    assert bench.post() is ACCEPTED
    bench.post()
    assert bench.urls == [URL, ELSEWHERE, ELSEWHERE]
    assert {body for _, _, body in bench.posts} == {b"body"}
    assert len(set(bench.sign_ins[:2])) == 1


def test_a_redirect_lasts_as_long_as_it_says() -> None:
    """max-age of 60 s: afterwards the configured address is asked again."""
    bench = Bench(redirect(ELSEWHERE, cache_control="max-age=60"), ACCEPTED)
    now = [0.0]
    bench.transport.endpoint = Endpoint(URL, lambda: now[0])
    for now[0] in (0.0, 59.0, 60.0):
        bench.post()
    assert bench.urls == [URL, ELSEWHERE, ELSEWHERE, URL]


@pytest.mark.parametrize("status", [301, 302, 303])
def test_other_redirects_are_answers(status: int) -> None:
    """They would turn a POST into a GET: the verdict judges them."""
    bench = Bench(redirect(ELSEWHERE, status))
    assert bench.post().status == status
    assert bench.urls == [URL]


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("https://example.com/v2.1/track", "https://example.com/v2.1/track"),
        (ELSEWHERE.replace("https", "http"), "http://"),
        ("", "nowhere"),
    ],
)
def test_a_redirect_to_a_stranger_is_not_followed(location: str, words: str) -> None:
    """Neither items nor the token go there; the message names the target."""
    bench = Bench(redirect(location), signed_in=True)
    with pytest.raises(Unreachable) as raised:
        bench.post()
    assert words in raised.value.cause
    assert "which is not followed" in raised.value.cause
    assert bench.urls == [URL]


def test_after_a_refused_redirect_the_configured_address_is_asked_again() -> None:
    """The first target, which sends to a stranger, is given up."""
    bench = Bench(redirect(ELSEWHERE), redirect("https://example.com"), ACCEPTED)
    with pytest.raises(Unreachable):
        bench.post()
    bench.post()
    assert bench.urls == [URL, ELSEWHERE, URL]


def test_redirects_in_a_circle_end_and_are_forgotten() -> None:
    """Ten are followed; the next batch begins at the configured address."""
    bench = Bench(redirect(ELSEWHERE))
    with pytest.raises(Unreachable, match=f"more than {LIMIT} redirects"):
        bench.post()
    assert len(bench.posts) == 1 + LIMIT
    assert bench.transport.endpoint.url == URL


def test_several_redirects_lead_to_an_answer() -> None:
    """Ten in a row, in one POST."""
    bench = Bench(*[redirect(ELSEWHERE)] * LIMIT, ACCEPTED)
    assert bench.post() is ACCEPTED


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), ValueError("a bad URL")])
def test_a_missing_answer_has_a_cause_and_a_hint(error: Exception) -> None:
    """Whatever the client raises of its two kinds; the original is kept."""
    bench = Bench(error)
    with pytest.raises(Unreachable) as raised:
        bench.post()
    assert raised.value.cause
    assert raised.value.hint
    assert raised.value.__cause__ is error


def test_a_defect_is_no_missing_answer() -> None:
    """It reaches delivery as it is, to be reported as one."""
    with pytest.raises(RuntimeError):
        Bench(RuntimeError("a defect")).post()
