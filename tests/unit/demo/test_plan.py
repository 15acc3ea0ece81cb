"""`make run` understands what it is asked for, and says what is wrong with it."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from demo.plan import MODELS, BadPlan, plan_from
from demo.ports import LOOPBACK, BadPorts, Ports, free_ports, is_free, ports_from, refuse_taken


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as server:
        server.bind((LOOPBACK, 0))
        server.listen()
        yield server.getsockname()[1]


def test_an_empty_environment_is_the_demonstration() -> None:
    """Our models, our ports, the sandbox."""
    plan = plan_from({})

    assert (plan.models, plan.ports, plan.destination) == (MODELS, Ports(), None)
    assert plan.sends_load
    assert plan.outbox == plan.folder / "sandbox-outbox"


@pytest.mark.parametrize("name", ["APPLICATIONINSIGHTS_CONNECTION_STRING", "INSTRUMENTATION_KEY"])
def test_a_destination_replaces_the_sandbox(name: str) -> None:
    """What waits for the real service is kept apart from what the sandbox would get."""
    plan = plan_from({name: "anything"})

    assert plan.destination == name
    assert plan.outbox == plan.folder / "outbox"


def test_a_blank_destination_is_none() -> None:
    """As an unset variable in a shell script or a compose file leaves it."""
    assert plan_from({"INSTRUMENTATION_KEY": " "}).destination is None


def test_the_receivers_own_settings_are_left_to_it() -> None:
    """A flag would win over them."""
    plan = plan_from({"RECEIVER_METRICS_JSON": "mine.json", "RECEIVER_OUTBOX_DIR": "/mine"})

    assert (plan.metrics_json, plan.outbox) == (None, None)


def test_a_model_repository_of_the_users_gets_no_load(tmp_path: Path) -> None:
    """We don't know what its models take."""
    (tmp_path / "mine/1").mkdir(parents=True)

    plan = plan_from({"MODELS": str(tmp_path)})

    assert plan.models == tmp_path
    assert not plan.sends_load


def test_a_folder_that_is_no_model_repository_is_refused(tmp_path: Path) -> None:
    """Each with what is wrong about it."""
    model = tmp_path / "repository/model"
    model.mkdir(parents=True)
    (model / "config.pbtxt").touch()

    for folder, message in (
        (tmp_path / "missing", "is not a folder"),
        (tmp_path / "repository", "holds no model"),
        (model, f"MODELS={tmp_path / 'repository'}$"),
    ):
        with pytest.raises(BadPlan, match=message):
            plan_from({"MODELS": str(folder)})


def test_port_offset_moves_all_ports() -> None:
    """So two of them can run side by side, each in its own folder."""
    assert ports_from({"PORT_OFFSET": "100"}) == Ports(8100, 8101, 8102, 9190, 9301, 9302)
    assert plan_from({"PORT_OFFSET": "100"}).folder != plan_from({}).folder


@pytest.mark.parametrize("offset", ["-1", "ten", "1.5", "60000", "²"])
def test_a_bad_port_offset_is_refused(offset: str) -> None:
    """Before anything is started."""
    with pytest.raises(BadPorts, match=r"PORT_OFFSET=.* must be a number from 0 to 56333"):
        ports_from({"PORT_OFFSET": offset})


def test_a_taken_port_is_named_with_an_offset_that_is_free(taken_port: int) -> None:
    """The message holds the command that works."""
    ports = replace(Ports(*free_ports(6)), prometheus=taken_port)

    with pytest.raises(BadPorts, match=rf"Port {taken_port}, .*Prometheus.* PORT_OFFSET=[0-9]+$"):
        refuse_taken(ports)


def test_free_ports_differ_and_are_free(taken_port: int) -> None:
    """A port that somebody listens on is not."""
    ports = free_ports(20)

    assert len(set(ports)) == len(ports)
    assert all(map(is_free, ports))
    assert not is_free(taken_port)
