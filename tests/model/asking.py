"""What every rule needs: the service to ask, the model beside it, and the comparison of the two; and wallets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.model import inputs
from tests.model.document import Document
from tests.model.inputs import Body
from tests.model.reference import Wallet
from tests.model.wire import Answer, Request, Wire

API = "/api/v1/wallets"
WALLET = f"{API}/{{wallet_id}}"
OPERATE = f"{WALLET}/operation"
HISTORY = f"{WALLET}/operations"
OPERATION = f"{HISTORY}/{{operation_id}}"
WALLETS_MAX = 4  # few, so that the same one is met again

places = st.integers(0, 7)  # which of the wallets, operations or keys there are


@dataclass(frozen=True, slots=True)
class Target:
    """A running service: its document, and connections to it."""

    document: Document
    wires: Sequence[Wire]
    first_failure: list[str] = field(default_factory=list)


class Asking(RuleBasedStateMachine):
    """The service and its model, side by side; subclassed with the target to ask."""

    target: ClassVar[Target]

    def __init__(self) -> None:
        super().__init__()
        self.wallets: list[Wallet] = []
        self.cursors: list[tuple[str, str]] = []  # (status, cursor) as they were given
        for wire in self.target.wires:
            wire.clear()

    # Asking.

    def ask(self, request: Request) -> Answer:
        """Ask, and hold the answer against the document."""
        answer = self.target.wires[0].ask(request)
        self.target.document.check(request, answer)
        return answer

    def refused(self, request: Request, answer: Answer, status: int, code: str) -> None:
        """Check that an answer is this problem."""
        assert (answer.status, answer.code) == (status, code), (request, answer)
        assert answer.body["status"] == status
        assert answer.body["instance"] == request.path.partition("?")[0], (request, answer)

    def wallet(self, place: int) -> Wallet:
        return self.wallets[place % len(self.wallets)]

    @initialize()
    def first_wallet(self) -> None:
        self.create_wallet(Body(None, None, headers=()), "")

    @precondition(lambda self: len(self.wallets) < WALLETS_MAX)
    @rule(body=inputs.NEW_WALLET_BODIES, slash=st.sampled_from(["", "", "/"]))
    def create_wallet(self, body: Body, slash: str) -> None:
        request = Request("POST", API + slash, API, body.headers, body.text)
        answer = self.ask(request)
        if body.problem:
            return self.refused(request, answer, *body.problem)
        wallet = Wallet(answer.body["id"], answer.body["created_at"])
        assert (answer.status, answer.body) == (201, wallet.view()), answer
        assert answer.headers["location"] == f"{API}/{wallet.id}"
        self.wallets.append(wallet)
        return None

    @rule(place=places, spelling=places, method=st.sampled_from(["GET", "GET", "HEAD"]))
    def read_wallet(self, place: int, spelling: int, method: str) -> None:
        wallet = self.wallet(place)
        answer = self.ask(Request(method, f"{API}/{inputs.spell_id(wallet.id, spelling)}", WALLET))
        assert (answer.status, answer.body) == (200, wallet.view() if method == "GET" else b""), (answer, wallet.view())
