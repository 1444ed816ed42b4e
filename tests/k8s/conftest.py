"""What the tests of the deployment can be asked to do besides."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what `make check-k8s` asks for."""
    parser.addoption("--image", action="store_true", help="build the image's contents by the Dockerfile's own commands")
