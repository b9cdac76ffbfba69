"""The short form: some thousand requests, the same in every run. The long one is `make model`."""

import asyncio

from tests.model.drive import drive, target_at
from tests.model.wire import total
from tests.service import Service

SEED, EXAMPLES = 1, 70
REQUESTS_MIN = 3_000  # a run that asked next to nothing must not pass


async def test_whatever_is_asked__is_answered_as_the_model_says_and_the_document_allows(service: Service) -> None:
    with target_at(service.url) as target:
        await asyncio.to_thread(drive, target, EXAMPLES, SEED, shortens=False)
        statuses = total(target.wires)

    assert statuses.total() >= REQUESTS_MIN
    assert {200, 201, 400, 404, 405, 415, 422} <= set(statuses)
    for process in (*service.gateways.values(), *service.workers.values()):
        assert '"event":"defect"' not in process.log_path.read_text()
