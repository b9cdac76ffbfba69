"""The rules of operations: alone, with keys, spelled in any way, several at once, and without waiting."""

import time
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.model import inputs
from tests.model.asking import API, HISTORY, OPERATE, OPERATION, Asking, places
from tests.model.inputs import Body, Headers
from tests.model.reference import LIMIT, Operation, Wallet, written
from tests.model.wire import Answer, Request

AT_ONCE_MAX = 6
DECIDED_SECONDS_MAX = 10.0

keys = st.one_of(st.none(), st.none(), st.integers(0, 5))


class Settling(Asking):
    """Operations, and what the model says of their outcomes."""

    def operation(
        self, place: int, body: Body, key: int | None, spelling: int = 0, extra: Headers = ()
    ) -> tuple[Request, str | None]:
        name = None if key is None else f"key-{key}"
        quoted = (("Idempotency-Key", f'"{name}"' if spelling % 2 else name),) if name else ()
        path = f"{API}/{inputs.spell_id(self.wallet(place).id, spelling)}/operation"
        return Request("POST", path, OPERATE, (*body.headers, *quoted, *extra), body.text), name

    @rule(place=places, body=inputs.BODIES, key=keys, spelling=places)
    def operate(self, place: int, body: Body, key: int | None, spelling: int) -> None:
        request, name = self.operation(place, body, key, spelling)
        self.settled(self.wallet(place), body, name, request, self.ask(request))

    @rule(place=places, body=inputs.GOOD_BODIES, key=keys)
    def operate_plainly(self, place: int, body: Body, key: int | None) -> None:
        self.operate(place, body, key, 0)

    @rule(place=places, cents=st.integers(-2, 2), key=keys)
    def withdraw_about_everything(self, place: int, cents: int, key: int | None) -> None:
        cents = self.wallet(place).balance + cents
        if 0 < cents <= LIMIT:
            text = f'{{"operation_type":"WITHDRAW","amount":"{written(cents)}"}}'.encode()
            self.operate(place, _good(text, "WITHDRAW", cents), key, 0)

    @rule(place=places, key=st.integers(0, 5), spelling=places)
    def replay(self, place: int, key: int, spelling: int) -> None:
        """The same key with what it was used for before, in another spelling."""
        known = self.wallet(place).keys.get(f"key-{key}")
        if known:
            text = f'{{"amount": {known.cents}e-2, "operation_type": "{known.type}"}}'.encode()
            self.operate(place, _good(text, known.type, known.cents), key, spelling)

    def settled(self, wallet: Wallet, body: Body, key: str | None, request: Request, answer: Answer) -> None:
        """Check the outcome of one operation, and enter it."""
        if body.problem:
            return self.refused(request, answer, *body.problem)
        known = wallet.keys.get(key) if key else None
        if known and (known.type, known.cents) != (body.kind, body.cents):
            return self.refused(request, answer, 422, "idempotency_key_reused")
        assert ("idempotency-replayed" in answer.headers) is (known is not None), (answer, known)
        if known:
            assert told(answer) == (known.id, known.balance, known.reason), (answer, known)
            assert known.reason or self.shows(wallet, known, answer), (answer, known)
            return None
        operation = self.decided(wallet, body, answer)
        assert operation.reason == wallet.reason_against(body.kind, body.cents), (wallet, body, answer)
        after = wallet.balance if operation.reason else wallet.after(body.kind, body.cents)
        assert operation.balance == after, (wallet, body, answer)
        assert operation.seq in {None, len(wallet.applied) + 1}, (wallet, body, answer)
        if operation.reason:
            self.refused(request, answer, 400, operation.reason)
        wallet.record(operation, key)
        assert operation.reason or self.shows(wallet, operation, answer), (answer, operation)
        return None

    def decided(self, wallet: Wallet, body: Body, answer: Answer) -> Operation:
        """Return the operation that an answer tells of."""
        operation_id, balance, reason = told(answer)
        shown = answer.body.get("operation", {})
        operation = Operation(operation_id, body.kind, body.cents, reason, shown.get("seq"), balance)
        if not reason:
            assert shown["applied_at"] == answer.body["updated_at"] >= wallet.updated_at, answer
            operation.applied_at = shown["applied_at"]
        return operation

    def shows(self, wallet: Wallet, operation: Operation, answer: Answer) -> bool:
        """Tell whether an answer is the wallet as it was right after an operation."""
        whole = dict(answer.body)
        is_right = operation.is_shown_as(whole.pop("operation"))
        balance, moment = written(operation.balance), operation.applied_at
        return is_right and whole == {**wallet.view(), "balance": balance, "updated_at": moment}

    @rule(place=places, body=inputs.GOOD_BODIES, spelling=places)
    def operate_without_waiting(self, place: int, body: Body, spelling: int) -> None:
        """Accepted with a 202, and decided soon, once, as the model says; or decided already."""
        wallet = self.wallet(place)
        request, _ = self.operation(place, body, None, spelling, (("Prefer", "wait=0"),))
        answer = self.ask(request)
        if answer.status != 202:
            return self.settled(wallet, body, None, request, answer)
        pending = answer.body["operation"]
        operation = Operation(pending["id"], body.kind, body.cents, None, None, 0, created_at=pending["created_at"])
        assert pending == {**operation.view(), "status": "PENDING", "balance": None}, answer
        assert answer.headers["location"] == f"{API}/{wallet.id}/operations/{operation.id}", answer
        shown = self.once_decided(answer.headers["location"])
        operation.reason = wallet.reason_against(body.kind, body.cents)
        operation.balance = wallet.balance if operation.reason else wallet.after(body.kind, body.cents)
        operation.seq = None if operation.reason else len(wallet.applied) + 1
        operation.applied_at = shown["applied_at"]
        assert shown == operation.view(), (shown, operation)
        assert (shown["applied_at"] is None) is bool(operation.reason), shown
        wallet.record(operation)
        return None

    def once_decided(self, location: str) -> dict[str, Any]:
        """Ask for an operation until it is decided, as a client does."""
        ends = time.monotonic() + DECIDED_SECONDS_MAX
        while True:
            answer = self.ask(Request("GET", location, OPERATION))
            assert answer.status == 200, answer
            assert time.monotonic() < ends, answer
            shown: dict[str, Any] = answer.body
            if shown["status"] != "PENDING":
                return shown
            time.sleep(0.002)

    # Several at once.

    @rule(
        place=places,
        asked=st.lists(st.tuples(inputs.GOOD_BODIES, keys, places), min_size=2, max_size=AT_ONCE_MAX),
        is_small=st.booleans(),
    )
    def at_once(self, place: int, asked: list[tuple[Body, int | None, int]], is_small: bool) -> None:
        """Operations on one wallet, a connection each, on either way: some order explains what they were told."""
        wallet = self.wallet(place)
        bodies = [_small(body) if is_small else body for body, *_ in asked]
        sent = [
            self.operation(place, body, key, spelling) for body, (_, key, spelling) in zip(bodies, asked, strict=True)
        ]
        for wire, (request, _) in zip(self.target.wires, sent, strict=False):
            wire.send(request.encode())
        answers = [wire.receive() for wire in self.target.wires[: len(sent)]]
        fresh: dict[str, tuple[Operation, str | None]] = {}
        by_key: dict[str, list[tuple[Body, Request, Answer]]] = {}
        for body, (request, key), answer in zip(bodies, sent, answers, strict=True):
            self.target.document.check(request, answer)
            if key is not None and key not in wallet.keys:
                by_key.setdefault(key, []).append((body, request, answer))
            elif key is not None:
                self.settled(wallet, body, key, request, answer)
            else:
                assert "idempotency-replayed" not in answer.headers, answer
                operation = self.decided(wallet, body, answer)
                fresh[operation.id] = operation, None
        for key, same in by_key.items():
            operation = self.one_of(wallet, same)
            fresh[operation.id] = operation, key
        self.some_order(wallet, list(fresh.values()))

    def one_of(self, wallet: Wallet, same: list[tuple[Body, Request, Answer]]) -> Operation:
        """Check several requests with one new key: one is decided, those like it are replays, others are refused."""
        first = [one for one in same if one[2].status != 422 and "idempotency-replayed" not in one[2].headers]
        assert len(first) == 1, same
        body, _, answer = first[0]
        operation = self.decided(wallet, body, answer)
        for other, request, answer in same:
            if (other.kind, other.cents) != (body.kind, body.cents):
                self.refused(request, answer, 422, "idempotency_key_reused")
            else:
                assert told(answer) == (operation.id, operation.balance, operation.reason), same
        return operation

    def some_order(self, wallet: Wallet, decided: list[tuple[Operation, str | None]]) -> None:
        """Check that the applied ones follow from one another, and that each refusal fits a balance on the way."""
        balances = {wallet.balance}
        for operation, key in sorted((one for one in decided if one[0].seq), key=lambda one: one[0].seq or 0):
            assert wallet.reason_against(operation.type, operation.cents) is None, (wallet, decided)
            assert operation.balance == wallet.after(operation.type, operation.cents), (wallet, decided)
            assert operation.seq == len(wallet.applied) + 1, (wallet, decided)
            wallet.record(operation, key)
            balances.add(wallet.balance)
        refused = {operation.id: (operation, key) for operation, key in decided if operation.reason}
        for operation, _ in refused.values():
            assert operation.balance in balances, (wallet, decided)
            assert operation.reason == wallet.reason_against(operation.type, operation.cents, operation.balance)
        if refused:
            # In which order refusals at once were decided, only the service knows.
            page = self.ask(
                Request("GET", f"{API}/{wallet.id}/operations?status=REJECTED&limit={len(refused)}", HISTORY)
            )
            order = [item["id"] for item in reversed(page.body["items"])]
            assert set(order) == set(refused), (page, decided)
            for operation_id in order:
                wallet.record(*refused[operation_id])


def told(answer: Answer) -> tuple[str, int, str | None]:
    """Return what an answer says of its operation: its id, the balance in cents, and why it was refused."""
    assert answer.status in {200, 400}, answer
    cents = int(answer.body["balance"].replace(".", ""))
    if answer.status == 400:
        return answer.body["operation_id"], cents, answer.body["code"]
    return answer.body["operation"]["id"], cents, None


def _good(text: bytes, kind: str, cents: int) -> Body:
    return Body(text, None, kind, cents)


def _small(body: Body) -> Body:
    """Return the like of a body with an amount of a few cents, so that several find room, or not, in one balance."""
    cents = body.cents % 500 + 1
    text = f'{{"operation_type":"{body.kind}","amount":"{written(cents)}"}}'
    return _good(text.encode(), body.kind, cents)
