"""The short form: some thousand requests, the same in every run. The long one is `make model`."""

import asyncio
from pathlib import Path

from tests.model.counting_gateway import Ways
from tests.model.drive import drive, target_at
from tests.model.wire import total
from tests.service import Service

SEED, EXAMPLES = 1, 70
REQUESTS_MIN = 3_000  # a run that asked next to nothing must not pass


async def test_whatever_is_asked__is_answered_as_the_model_says_and_the_document_allows(
    own_service: Service, tmp_path: Path
) -> None:
    ways = tmp_path / "ways.json"
    own_service.start_gateway(module="tests.model.counting_gateway", WAYS_FILE=str(ways))
    own_service.start_worker()
    await own_service.wait_ready()
    with target_at(own_service.url) as target:
        await asyncio.to_thread(drive, target, EXAMPLES, SEED, shortens=False)
        statuses = total(target.wires)
    assert own_service.stop() == [0, 0]

    assert statuses.total() >= REQUESTS_MIN
    assert {200, 201, 400, 404, 405, 415, 422} <= set(statuses)
    assert Ways.read(ways).are_both_used, str(Ways.read(ways))
    for process in (*own_service.gateways.values(), *own_service.workers.values()):
        assert '"event":"defect"' not in process.log_path.read_text()
