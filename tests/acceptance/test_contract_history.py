"""The contract of history: newest first, page by page, complete while new operations arrive."""

import asyncio
import base64

import pytest

from tests.acceptance.problems import assert_problem, wrong_fields
from tests.service import Answer, Client

APPLIED_COUNT, REJECTED_COUNT = 112, 13  # three digits: cursors of every length


@pytest.fixture(scope="module")
async def wallet(client_of_module: Client) -> str:
    """The path of a wallet with a history that no test changes."""
    wallet_id = await client_of_module.create_wallet()
    for _ in range(REJECTED_COUNT):
        assert (await client_of_module.withdraw(wallet_id, "999")).status == 400
    await asyncio.gather(*(client_of_module.deposit(wallet_id, 1) for _ in range(APPLIED_COUNT)))
    return f"/api/v1/wallets/{wallet_id}"


async def page(client: Client, wallet: str, **query: object) -> Answer:
    words = "&".join(f"{name}={value}" for name, value in query.items() if value is not None)
    return await client.get(f"{wallet}/operations?{words}")


async def test_page__items_newest_first_and_a_cursor(client: Client, wallet: str) -> None:
    answer = await page(client, wallet)
    assert answer.status == 200
    assert answer.body.keys() == {"items", "next_cursor"}
    assert [item["seq"] for item in answer.body["items"]] == list(range(APPLIED_COUNT, APPLIED_COUNT - 50, -1))
    assert {item["status"] for item in answer.body["items"]} == {"APPLIED"}
    assert [item["balance"] for item in answer.body["items"][:2]] == ["112.00", "111.00"]
    newest = answer.body["items"][0]
    assert (await client.get(f"{wallet}/operations/{newest['id']}")).body == newest


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 56, 111, 112, 113, 500])
async def test_pages_of_any_size__bring_everything_once_and_end(client: Client, wallet: str, limit: int) -> None:
    seqs: list[int] = []
    cursor = None
    while True:
        answer = await page(client, wallet, limit=limit, cursor=cursor)
        assert answer.status == 200, (seqs[-1], answer)
        assert 0 < len(answer.body["items"]) <= limit
        seqs += [item["seq"] for item in answer.body["items"]]
        cursor = answer.body["next_cursor"]
        if cursor is None:
            break
    assert seqs == list(range(APPLIED_COUNT, 0, -1))


async def test_new_operations_while_paging__no_item_twice_and_none_missing(client: Client) -> None:
    wallet_id = await client.create_wallet()
    for _ in range(25):
        await client.deposit(wallet_id, 1)
    seqs: list[int] = []
    cursor = None
    while True:
        answer = await page(client, f"/api/v1/wallets/{wallet_id}", limit=4, cursor=cursor)
        seqs += [item["seq"] for item in answer.body["items"]]
        cursor = answer.body["next_cursor"]
        if cursor is None:
            break
        await asyncio.gather(*(client.deposit(wallet_id, 1) for _ in range(5)))
    assert seqs == list(range(25, 0, -1))


@pytest.mark.parametrize("limit", [1, 5, 12, 13, 14])
async def test_rejected_ones__only_when_asked_for_newest_first(client: Client, wallet: str, limit: int) -> None:
    items = []
    cursor = None
    while True:
        answer = await page(client, wallet, status="REJECTED", limit=limit, cursor=cursor)
        items += answer.body["items"]
        cursor = answer.body["next_cursor"]
        if cursor is None:
            break
    assert len({item["id"] for item in items}) == len(items) == REJECTED_COUNT
    assert {(item["status"], item["reason"], item["seq"]) for item in items} == {
        ("REJECTED", "insufficient_funds", None)
    }
    created = [item["created_at"] for item in items]
    assert created == sorted(created, reverse=True)


async def test_empty_history__is_a_page_without_items(client: Client) -> None:
    wallet = f"/api/v1/wallets/{await client.create_wallet()}"
    for status in ("APPLIED", "REJECTED"):
        answer = await page(client, wallet, status=status)
        assert (answer.status, answer.body) == (200, {"items": [], "next_cursor": None})


@pytest.mark.parametrize(
    "limit", ["0", "-1", "501", "10000", "1e2", "5.0", "x", "", "%20", "٣", "0x1", "1_0", "+1", "null"]
)
async def test_bad_limit__422(client: Client, wallet: str, limit: str) -> None:
    await assert_refused(client, wallet, f"limit={limit}", "query.limit")


@pytest.mark.parametrize("status", ["", "applied", "PENDING", "APPLIED,REJECTED", "ALL", "1"])
async def test_bad_status__422(client: Client, wallet: str, status: str) -> None:
    await assert_refused(client, wallet, f"status={status}", "query.status")


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


WALLET = "01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10"


@pytest.mark.parametrize(
    ("status", "cursor"),
    [
        *(("APPLIED", cursor) for cursor in ("", "x", "xx", "%00", "é", "====", "a" * 4000, encoded("x"), encoded(""))),
        *(("APPLIED", encoded(text)) for text in ("-1", "1.5", "1|1", "9" * 19, "\u0661", " 1", "1;DELETE")),
        *(("REJECTED", encoded(text)) for text in ("1", "x|y", "|", "2026-01-01|x", f"x|{WALLET}", f"1|{WALLET}")),
        ("REJECTED", encoded(f"2026-01-01T00:00:00|{WALLET}")),
        ("REJECTED", encoded(f"0001-01-01T00:00:00+23:59|{WALLET}")),
        ("REJECTED", encoded(f"9999-12-31T23:59:59-23:59|{WALLET}")),
        ("REJECTED", encoded(f"10000-01-01T00:00:00+00:00|{WALLET}")),
        ("REJECTED", encoded(f"2026-01-01T00:00:00+00:00|{WALLET}|{WALLET}")),
    ],
)
async def test_bad_cursor__422(client: Client, wallet: str, status: str, cursor: str) -> None:
    await assert_refused(client, wallet, f"status={status}&cursor={cursor}", "query.cursor")


async def test_cursor_of_the_other_list__422(client: Client, wallet: str) -> None:
    for mine, other in (("APPLIED", "REJECTED"), ("REJECTED", "APPLIED")):
        cursor = (await page(client, wallet, status=mine, limit=1)).body["next_cursor"]
        await assert_refused(client, wallet, f"status={other}&cursor={cursor}", "query.cursor")


async def test_query_with_several_faults__422_names_each(client: Client, wallet: str) -> None:
    answer = await client.get(f"{wallet}/operations?limit=0&status=foo&cursor=x")
    assert_problem(answer, 422, "validation_error", f"{wallet}/operations", "errors")
    assert wrong_fields(answer) == {"query.limit", "query.status", "query.cursor"}


async def assert_refused(client: Client, wallet: str, query: str, field: str) -> None:
    answer = await client.get(f"{wallet}/operations?{query}")
    assert_problem(answer, 422, "validation_error", f"{wallet}/operations", "errors")
    assert wrong_fields(answer) == {field}
