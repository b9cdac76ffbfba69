"""Clients of the shared service for longer than one test; and, when it is asked for, a Redis Cluster under all of them.

`make test-cluster` runs this folder with ON_CLUSTER=1: every test that names no store of its own then has a cluster of
three real nodes in place of the one server.
"""

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from devstack.cluster import Cluster
from devstack.postgres import Postgres
from shared.settings import Settings
from tests.conftest import books_of
from tests.service import Client, Service


@pytest.fixture(scope="module")
async def client_of_module(service: Service) -> AsyncIterator[Client]:
    """A client of the shared service, for what a module makes once."""
    opened = Client(service.url)
    yield opened
    await opened.close()


if os.environ.get("ON_CLUSTER") == "1":

    @pytest.fixture(scope="session")
    def cluster_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
        """The shared service's nodes."""
        yield from _running(Cluster(tmp_path_factory.mktemp("cluster")))

    @pytest.fixture(scope="session")
    def cluster_of_each(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
        """The nodes of the tests with a service of their own: emptied for each."""
        yield from _running(Cluster(tmp_path_factory.mktemp("cluster")))

    @pytest.fixture(scope="session")
    async def service(
        postgres: Postgres, template: str, cluster_of_all: Cluster, tmp_path_factory: pytest.TempPathFactory
    ) -> AsyncIterator[Service]:
        """One running service for all tests that break nothing."""
        stores = {**await books_of(postgres, template), "redis_url": cluster_of_all.url, "redis_cluster": True}
        settings = Settings(**stores)
        running = Service(settings, tmp_path_factory.mktemp("service"))
        running.start_gateway()
        running.start_worker()
        await running.wait_ready()
        yield running
        assert running.stop() == [0, 0]

    @pytest.fixture
    async def stores(postgres: Postgres, template: str, cluster_of_each: Cluster) -> dict[str, Any]:
        """The store settings of one test: a fresh database and empty nodes."""
        for node in cluster_of_each.nodes:
            cluster_of_each.ask(node, "FLUSHALL")
        return {**await books_of(postgres, template), "redis_url": cluster_of_each.url, "redis_cluster": True}

    def _running(cluster: Cluster) -> Iterator[Cluster]:
        cluster.start()
        yield cluster
        cluster.stop()
