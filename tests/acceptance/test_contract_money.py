"""The contract of money: exact to the cent on the way in and on the way out, and nothing but money accepted."""

import pytest

from tests.acceptance.problems import assert_problem, wrong_fields
from tests.service import Answer, Client

# What a client writes → what is in the books. No float is on the way.
ACCEPTED = {
    "0.01": "0.01",
    "0.1": "0.10",
    "1": "1.00",
    "1.0": "1.00",
    "1.10": "1.10",
    "1000.5": "1000.50",
    "0.29": "0.29",  # 28.999999999999996 cents, if it ever was a float
    "4.35": "4.35",
    "1.15": "1.15",
    "99999999999999.99": "99999999999999.99",
    "9007199254740993": "9007199254740993.00",  # 2⁵³ + 1
    "9999999999999999": "9999999999999999.00",
    "9999999999999999.99": "9999999999999999.99",
}
ONLY_AS_A_NUMBER = {
    "1e3": "1000.00",
    "1E+3": "1000.00",
    "1.5e1": "15.00",
    "1000e-2": "10.00",
    "1.00e15": "1" + "0" * 15 + ".00",
}

REFUSED_EITHER_WAY = (
    *("0", "0.00", "-0", "-1", "-0.01", "0.001", "1.234", "1.000", "1e-3", "100000e-4", "0e5"),
    *("1e16", "10000000000000000", "10000000000000000.00", "1e400", "9" * 400, "0." + "1" * 400),
)
REFUSED_STRINGS = (
    *(
        "",
        " ",
        " 5 ",
        "5 ",
        "\\n5",
        "5\\n",
        "1_000",
        "1,000",
        "1,5",
        "+1",
        "\u0661\u0662",
        "\uff11",
        "²",
        "½",
        "0x10",
        "1e3",
        "5.",
        ".5",
    ),
    *(
        "007",
        "00",
        "0.0.1",
        "--1",
        "NaN",
        "nan",
        "Infinity",
        "-Infinity",
        "inf",
        "true",
        "null",
        "$5",
        "5 USD",
        "\\u0000",
    ),
    *("\\ud800", "1" * 17, "1\\u00a0000"),
)
REFUSED_TYPES = ("true", "false", "null", "[]", "[1]", "{}", '{"amount": 1}')
NOT_JSON = ("NaN", "Infinity", "-Infinity", "+1", "01", ".5", "5.", "1_000", "0x10", "1e", "'1'", "", "1 2", "\u0661")


async def deposit(client: Client, wallet_id: str, token: str) -> Answer:
    """Deposit with `token` standing in the body as it is."""
    body = f'{{"operation_type": "DEPOSIT", "amount": {token}}}'
    return await client.request("POST", f"/api/v1/wallets/{wallet_id}/operation", data=body)


@pytest.fixture(scope="module")
async def wallet_id(client_of_module: Client) -> str:
    """A wallet that nothing reaches: whatever is refused must leave it at zero."""
    return await client_of_module.create_wallet()


@pytest.mark.parametrize(("token", "exact"), [*ACCEPTED.items(), *ONLY_AS_A_NUMBER.items()])
async def test_number_token__arrives_to_the_cent(client: Client, token: str, exact: str) -> None:
    answer = await deposit(client, wallet := await client.create_wallet(), token)
    assert answer.status == 200, answer
    assert (answer.body["operation"]["amount"], answer.body["balance"]) == (exact, exact)
    assert await client.balance(wallet) == exact


@pytest.mark.parametrize(("text", "exact"), ACCEPTED.items())
async def test_plain_decimal_string__arrives_to_the_cent(client: Client, text: str, exact: str) -> None:
    answer = await deposit(client, wallet := await client.create_wallet(), f'"{text}"')
    assert answer.status == 200, answer
    assert answer.body["operation"]["amount"] == exact
    assert await client.balance(wallet) == exact


@pytest.mark.parametrize(
    "token",
    [*REFUSED_EITHER_WAY, *(f'"{text}"' for text in (*REFUSED_EITHER_WAY, *REFUSED_STRINGS)), *REFUSED_TYPES],
    ids=lambda token: token[:24],
)
async def test_no_money__422_names_the_amount(client: Client, wallet_id: str, token: str) -> None:
    answer = await deposit(client, wallet_id, token)
    assert_problem(answer, 422, "validation_error", f"/api/v1/wallets/{wallet_id}/operation", "errors")
    assert wrong_fields(answer) == {"body.amount"}


@pytest.mark.parametrize("token", NOT_JSON)
async def test_token_that_is_no_json__400(client: Client, wallet_id: str, token: str) -> None:
    answer = await deposit(client, wallet_id, token)
    assert_problem(answer, 400, "malformed_json", f"/api/v1/wallets/{wallet_id}/operation")


async def test_everything_refused__left_nothing_in_the_books(client: Client, wallet_id: str) -> None:
    for token in (*REFUSED_EITHER_WAY, *REFUSED_TYPES, *NOT_JSON):
        await deposit(client, wallet_id, token)
    assert await client.history(wallet_id) == await client.history(wallet_id, "REJECTED") == []
    assert await client.balance(wallet_id) == "0.00"


async def test_balance_at_its_limit__one_cent_more_is_refused_and_recorded(client: Client) -> None:
    wallet = await client.create_wallet()
    await client.deposit(wallet, "9999999999999999.99")

    answer = await client.deposit(wallet, "0.01")

    path = f"/api/v1/wallets/{wallet}/operation"
    assert_problem(answer, 400, "balance_limit_exceeded", path, "balance", "operation_id")
    assert answer.body["balance"] == "9999999999999999.99"
    assert [item["reason"] for item in await client.history(wallet, "REJECTED")] == ["balance_limit_exceeded"]
    assert (await client.withdraw(wallet, "9999999999999999.99")).body["balance"] == "0.00"


async def test_withdrawal_of_the_whole_balance__leaves_zero_and_not_a_cent_less(client: Client) -> None:
    wallet = await client.create_wallet()
    await client.deposit(wallet, "0.10")
    await client.deposit(wallet, "0.20")
    assert (await client.withdraw(wallet, "0.31")).code == "insufficient_funds"
    assert (await client.withdraw(wallet, "0.30")).body["balance"] == "0.00"
    assert (await client.withdraw(wallet, "0.01")).body["balance"] == "0.00"
