"""Content negotiation, from the headers alone."""

import pytest

from receiver.errors import UnsupportedMedia
from receiver.intake.decode import Message
from receiver.server.negotiation import negotiate

V2 = "io.prometheus.write.v2.Request"


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        ("application/x-protobuf", Message.V1),
        ("", Message.V1),
        ("  ", Message.V1),
        ("application/x-protobuf;proto=prometheus.WriteRequest", Message.V1),
        (f"application/x-protobuf;proto={V2}", Message.V2),
        (f"application/x-protobuf; proto={V2}", Message.V2),
        (f'application/x-protobuf; proto="{V2}"', Message.V2),
        ('application/x-protobuf; proto="io.prometheus.write.v2.\\Request"', Message.V2),
        (f"Application/X-Protobuf ;PROTO={V2} ; charset=utf-8", Message.V2),
        ("application/x-protobuf;", Message.V1),
        ("application/x-protobuf;;charset=utf-8", Message.V1),
        (f"application/x-protobuf;proto={V2};proto=prometheus.WriteRequest", Message.V2),
    ],
)  # fmt: skip
def test_the_message_is_what_the_type_names(content_type: str, message: Message) -> None:
    """Spaces, quotes, case and further parameters are as RFC 9110 has them; none means 1.0."""
    assert negotiate(content_type, "snappy") is message


@pytest.mark.parametrize("encoding", ["snappy", "SNAPPY", " snappy ", ""])
def test_the_encoding_is_snappy_or_unsaid(encoding: str) -> None:
    """The oldest senders do not say it."""
    assert negotiate("application/x-protobuf", encoding) is Message.V1


@pytest.mark.parametrize(
    ("content_type", "encoding", "said"),
    [
        ("application/x-protobuf", "gzip", 'Content-Encoding is "gzip", not snappy'),
        ("application/x-protobuf", "zstd", "not snappy"),
        ("application/x-protobuf", "snappy, gzip", "not snappy"),
        ("application/x-protobuf", "identity", "not snappy"),
        ("application/json", "snappy", 'Content-Type is "application/json", not application/x-protobuf'),
        ("image/png", "", "not application/x-protobuf"),
        ("x-protobuf", "", "not application/x-protobuf"),
        ("application/x-protobufs", "", "not application/x-protobuf"),
        ("application/x-protobuf;proto=io.prometheus.write.v3.Request", "", 'proto is "io.prometheus.write.v3.Request", not'),
        ("application/x-protobuf;proto=PROMETHEUS.WriteRequest", "", "proto is"),
        ('application/x-protobuf;proto=""', "", 'proto is ""'),
        ("application/x-protobuf;proto", "", "malformed parameter"),
        ("application/x-protobuf;proto=a b", "", "malformed parameter"),
        ('application/x-protobuf;proto="open', "", "malformed parameter"),
        ("application/x-protobuf garbage", "", "malformed parameter"),
        ("a/" + "x" * 100_000, "g" * 100_000, "not snappy"),
        ("a/" + "x" * 100_000, "", "not application/x-protobuf"),
    ],
)  # fmt: skip
def test_what_is_not_remote_write_is_415(content_type: str, encoding: str, said: str) -> None:
    """With a sentence that says which header, short whatever was sent."""
    with pytest.raises(UnsupportedMedia) as refused:
        negotiate(content_type, encoding)

    assert refused.value.status == 415
    assert said in str(refused.value)
    assert len(str(refused.value)) < 300
