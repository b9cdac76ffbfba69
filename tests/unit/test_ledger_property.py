"""Any commands, cut into any batches and redelivered in any way, come to what a plain walk through them comes to."""

from dataclasses import dataclass, field, replace
from itertools import cycle
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from shared.commands import Command, Operation, OperationType, Status, Wallet
from shared.money import AMOUNT_MAX, BALANCE_MAX
from tests.commands import EPOCH, empty_wallet
from worker.ledger import settle

# Few of each, so that the same id meets itself, with the same body and with others.
WALLETS = [UUID(int=n) for n in range(1, 4)]
MISSING = UUID(int=99)
IDS = [UUID(int=1_000 + n) for n in range(12)]
# No client can choose an id: one that was asked of a missing wallet is never asked of another.
IDS_OF_MISSING = [UUID(int=2_000 + n) for n in range(2)]
AMOUNTS = st.one_of(st.integers(1, 20), st.sampled_from([AMOUNT_MAX, AMOUNT_MAX - 5, AMOUNT_MAX // 2]))

_bodies = {"type": st.sampled_from(OperationType), "amount": AMOUNTS, "submitted_at": st.just(EPOCH)}
commands = st.lists(
    st.one_of(
        st.builds(Command, id=st.sampled_from(IDS), wallet_id=st.sampled_from(WALLETS), **_bodies),
        st.builds(Command, id=st.sampled_from(IDS_OF_MISSING), wallet_id=st.just(MISSING), **_bodies),
    ),
    max_size=30,
)


@dataclass
class Delivery:
    """What the streams may do to commands: the sizes of batches, how much of each and how often one comes again."""

    sizes: list[int]
    repeats: list[int]
    copies: list[int]


deliveries = st.builds(
    Delivery,
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    repeats=st.lists(st.integers(0, 7), min_size=1, max_size=5),
    copies=st.lists(st.integers(1, 3), min_size=1, max_size=5),
)

Outcome = tuple[str, int | None, int, UUID]


def plain_walk(asked: list[Command], balances: dict[UUID, int]) -> list[Outcome]:
    """Decide one command after another, with nothing but two dictionaries."""
    first_asked: dict[UUID, Outcome] = {}
    counted = dict.fromkeys(balances, 0)
    walked: list[Outcome] = []
    for command in asked:
        outcome = first_asked.get(command.id)
        if outcome is None:
            wallet_id = command.wallet_id
            if wallet_id not in balances:
                walked.append(("wallet_not_found", None, 0, wallet_id))
                continue
            change = command.amount if command.type == "DEPOSIT" else -command.amount
            after = balances[wallet_id] + change
            if after < 0:
                outcome = ("insufficient_funds", None, balances[wallet_id], wallet_id)
            elif after > 10**18 - 1:
                outcome = ("balance_limit_exceeded", None, balances[wallet_id], wallet_id)
            else:
                balances[wallet_id] = after
                counted[wallet_id] += 1
                outcome = ("APPLIED", counted[wallet_id], after, wallet_id)
            first_asked[command.id] = outcome
        walked.append(outcome)
    return walked


@dataclass
class Books:
    """What Postgres would hold, batch after batch; a lost result is a batch that comes again."""

    wallets: dict[UUID, Wallet] = field(default_factory=lambda: {w: empty_wallet(w) for w in WALLETS})
    recorded: dict[UUID, Operation] = field(default_factory=dict)

    def settle(self, batch: list[Command]) -> list[Operation]:
        settlement = settle(batch, self.wallets, self.recorded, EPOCH)
        for operation in settlement.operations:
            assert operation.id not in self.recorded, "the primary key would refuse this"
            self.recorded[operation.id] = operation
        self.wallets.update((wallet.id, wallet) for wallet in settlement.wallets)
        return settlement.outcomes


def outcome_of(operation: Operation) -> Outcome:
    decided = operation.reason.value if operation.reason else operation.status.value
    return decided, operation.seq, operation.balance, operation.wallet_id


def delivered(asked: list[Command], delivery: Delivery) -> list[list[tuple[int, Command]]]:
    """Cut commands into batches: some come twice in a row, and after each batch some of it may come once more."""
    copies = zip(asked, cycle(delivery.copies), strict=False)
    left = [(index, command) for index, (command, times) in enumerate(copies) for _ in range(times)]
    batches = []
    for size, repeat in zip(cycle(delivery.sizes), cycle(delivery.repeats), strict=False):
        if not left:
            break
        batch, left = left[:size], left[size:]
        batches += [batch, batch[:repeat]]  # the next owner claims what was settled and not finished
    return batches


@given(commands, deliveries)
def test_any_delivery__has_the_outcomes_of_a_plain_walk(asked: list[Command], delivery: Delivery) -> None:
    books = Books()
    outcomes: dict[int, list[Outcome]] = {}
    for batch in delivered(asked, delivery):
        for (index, _), operation in zip(batch, books.settle([c for _, c in batch]), strict=True):
            outcomes.setdefault(index, []).append(outcome_of(operation))

    balances = dict.fromkeys(WALLETS, 0)
    expected = plain_walk(asked, balances)

    assert [set(outcomes[index]) for index in range(len(asked))] == [{outcome} for outcome in expected]
    assert {wallet.id: wallet.balance for wallet in books.wallets.values()} == balances


@given(commands, deliveries)
def test_any_delivery__leaves_books_that_add_up(asked: list[Command], delivery: Delivery) -> None:
    books = Books()
    for batch in delivered(asked, delivery):
        books.settle([command for _, command in batch])

    for wallet in books.wallets.values():
        applied = [o for o in books.recorded.values() if o.wallet_id == wallet.id and o.status is Status.APPLIED]
        in_order = sorted(applied, key=lambda operation: operation.seq or 0)
        assert [operation.seq for operation in in_order] == list(range(1, wallet.seq + 1))
        balance = 0
        for operation in in_order:
            balance += operation.amount if operation.type is OperationType.DEPOSIT else -operation.amount
            assert 0 <= balance <= BALANCE_MAX
            assert operation.balance == balance
        assert wallet.balance == balance


@given(commands)
def test_second_delivery_of_everything__changes_nothing(asked: list[Command]) -> None:
    books = Books()
    first = books.settle(asked)
    before = replace(books, wallets=dict(books.wallets), recorded=dict(books.recorded))

    assert books.settle(asked) == first

    assert books == before
