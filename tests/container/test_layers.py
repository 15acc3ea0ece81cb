"""Equal sources are equal layers: the image is built again, from nothing, by the other builder."""

import json
from collections.abc import Callable

import pytest

from tests.container.conftest import IMAGE, RECEIVER, VERSION, Build
from tests.container.containers import Docker

pytestmark = pytest.mark.timeout(600, func_only=True)


@pytest.fixture
def layers(docker: Docker) -> Callable[[str], list[str]]:
    """The digests of an image's layers, lowest first."""

    def digests(image: str) -> list[str]:
        found: list[str] = json.loads(
            docker("image", "inspect", "--format={{json .RootFS.Layers}}", image)
        )
        return found

    return digests


@pytest.mark.parametrize("name", [IMAGE, RECEIVER])
def test_a_build_from_nothing_gives_the_same_layers(
    build: Build,
    docker: Docker,
    layers: Callable[[str], list[str]],
    request: pytest.FixtureRequest,
    name: str,
) -> None:
    """The first was built without BuildKit, the second with it and without any cache."""
    first = request.getfixturevalue("image" if name == IMAGE else "receiver_image")
    again = f"{name}-again"
    target = "triton" if name == IMAGE else "receiver"
    build(again, VERSION, target=target, more=("--no-cache",), kit=1)
    try:
        assert layers(again) == layers(first)
        assert docker("image", "inspect", "--format={{.Id}}", again) != docker(
            "image", "inspect", "--format={{.Id}}", first
        ), "it was built"
    finally:
        docker("image", "rm", "--force", f"{again}:{VERSION}", f"{again}:latest")
