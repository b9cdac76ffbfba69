"""Clients of the shared service for longer than one test."""

from collections.abc import AsyncIterator

import pytest

from tests.service import Client, Service


@pytest.fixture(scope="module")
async def client_of_module(service: Service) -> AsyncIterator[Client]:
    """A client of the shared service, for what a module makes once."""
    opened = Client(service.url)
    yield opened
    await opened.close()
