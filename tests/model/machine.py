"""The state machine: each rule asks the running service something, and the model says what the answer must be.

Guarantees that every answer is compared to the last field, and with the OpenAPI document. One at a time, except where
a rule sends several at once: then their outcomes must be those of some order.
"""

import sys
import traceback
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model import inputs
from tests.model.asking import API, HISTORY, OPERATE, OPERATION, WALLET, places
from tests.model.inputs import Body, Headers
from tests.model.settling import Settling, keys
from tests.model.wire import Request

PAGE_DEFAULT = 50


class Machine(Settling):
    """Histories, what is not there, what is no request; and at the end everything once more."""

    @rule(
        place=places,
        status=st.sampled_from([None, "APPLIED", "REJECTED"]),
        limit=inputs.LIMITS,
        pages=st.integers(1, 3),
    )
    def list_operations(self, place: int, status: str | None, limit: tuple[str, int], pages: int) -> None:
        wallet = self.wallet(place)
        history = wallet.rejected if status == "REJECTED" else wallet.applied
        text, count = limit
        query = [f"limit={text}"] if text else []
        count = count if text else PAGE_DEFAULT
        cursor, left = None, history[::-1]
        for _ in range(pages):
            asked = [*query, *([f"status={status}"] if status else []), *([f"cursor={cursor}"] if cursor else [])]
            request = Request(
                "GET", f"{API}/{wallet.id}/operations" + ("?" + "&".join(asked) if asked else ""), HISTORY
            )
            answer = self.ask(request)
            if not count:
                return self.refused(request, answer, 422, "validation_error")
            page, left = left[:count], left[count:]
            items, cursor = answer.body["items"], answer.body["next_cursor"]
            assert [item["id"] for item in items] == [operation.id for operation in page], (request, answer, page)
            assert all(operation.is_shown_as(item) for operation, item in zip(page, items, strict=True)), answer
            assert (cursor is not None) is bool(left), (request, answer, len(left))
            if cursor is None:
                return None
            self.cursors.append((status or "APPLIED", cursor))
        return None

    @rule(
        place=places,
        wrong=st.one_of(
            st.sampled_from(inputs.BAD_CURSORS).map(lambda value: f"cursor={value}"),
            st.sampled_from(inputs.BAD_STATUSES).map(lambda value: f"status={value}"),
        ),
        status=st.sampled_from(["", "&status=REJECTED"]),
    )
    def list_wrongly(self, place: int, wrong: str, status: str) -> None:
        request = Request("GET", f"{API}/{self.wallet(place).id}/operations?{wrong}{status}", HISTORY)
        self.refused(request, self.ask(request), 422, "validation_error")

    @precondition(lambda self: self.cursors)
    @rule(place=places, number=places)
    def list_with_the_other_lists_cursor(self, place: int, number: int) -> None:
        status, cursor = self.cursors[number % len(self.cursors)]
        other = "APPLIED" if status == "REJECTED" else "REJECTED"
        path = f"{API}/{self.wallet(place).id}/operations?cursor={cursor}&status={other}"
        request = Request("GET", path, HISTORY)
        self.refused(request, self.ask(request), 422, "validation_error")

    @rule(place=places, number=places, spelling=places)
    def read_operation(self, place: int, number: int, spelling: int) -> None:
        wallet = self.wallet(place)
        there = wallet.applied[-8:] + wallet.rejected[-8:]
        if there:
            operation = there[number % len(there)]
            path = f"{API}/{wallet.id}/operations/{inputs.spell_id(operation.id, spelling)}"
            answer = self.ask(Request("GET", path, OPERATION))
            assert answer.status == 200, answer
            assert operation.is_shown_as(answer.body), (answer, operation)

    # What is not there, and what is no request.

    @rule(place=places, number=places, body=inputs.BODIES, key=keys)
    def ask_for_what_is_not_there(self, place: int, number: int, body: Body, key: int | None) -> None:
        wallet, nobody = self.wallet(place), str(uuid4())
        paths = [
            (f"{API}/{nobody}", WALLET, "wallet_not_found"),
            (f"{API}/{nobody}/operations", HISTORY, "wallet_not_found"),
            (f"{API}/{nobody}/operations?status=REJECTED", HISTORY, "wallet_not_found"),
            (f"{API}/{nobody}/operations/{uuid4()}", OPERATION, "wallet_not_found"),
            (f"{API}/{wallet.id}/operations/{uuid4()}", OPERATION, "operation_not_found"),
        ]
        others = [one for one in self.wallets if one is not wallet and one.applied]
        if others:
            path = f"{API}/{wallet.id}/operations/{others[0].applied[0].id}"
            paths.append((path, OPERATION, "operation_not_found"))
        if number >= len(paths):
            headers = (*body.headers, *(() if key is None else (("Idempotency-Key", f"key-{key}"),)))
            request = Request("POST", f"{API}/{nobody}/operation", OPERATE, headers, body.text)
            return self.refused(request, self.ask(request), *(body.problem or (404, "wallet_not_found")))
        path, route, code = paths[number]
        request = Request("GET", path, route)
        return self.refused(request, self.ask(request), 404, code)

    @rule(place=places, bad_id=st.sampled_from(inputs.BAD_IDS), number=st.integers(0, 4))
    def ask_with_a_malformed_id(self, place: int, bad_id: str, number: int) -> None:
        method, path, route = (
            ("GET", f"{API}/{bad_id}", WALLET),
            ("GET", f"{API}/{bad_id}/operations", HISTORY),
            ("POST", f"{API}/{bad_id}/operation", OPERATE),
            ("GET", f"{API}/{bad_id}/operations/{uuid4()}", OPERATION),
            ("GET", f"{API}/{self.wallet(place).id}/operations/{bad_id}", OPERATION),
        )[number]
        request = Request(method, path, route, inputs.JSON, b"{}" if method == "POST" else None)
        self.refused(request, self.ask(request), 422, "validation_error")

    @rule(place=places, body=inputs.BODIES, bad_key=st.sampled_from(inputs.BAD_KEYS))
    def operate_with_a_malformed_key(self, place: int, body: Body, bad_key: Headers) -> None:
        request, _ = self.operation(place, body, None, extra=bad_key)
        self.refused(request, self.ask(request), 422, "validation_error")

    @rule(
        place=places,
        number=st.integers(0, 6),
        method=st.sampled_from(["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "POST", "GET", "HEAD", "PROPFIND"]),
    )
    def use_another_method(self, place: int, number: int, method: str) -> None:
        wallet_id = self.wallet(place).id
        path, route, allowed = (
            (API, API, {"POST"}),
            (f"{API}/{wallet_id}", WALLET, {"GET", "HEAD"}),
            (f"{API}/{wallet_id}/operation", OPERATE, {"POST"}),
            (f"{API}/{wallet_id}/operations/", HISTORY, {"GET", "HEAD"}),
            (f"{API}/{wallet_id}/operations/{uuid4()}", OPERATION, {"GET", "HEAD"}),
            ("/healthz", "/healthz", {"GET", "HEAD"}),
            ("/readyz/", "/readyz", {"GET", "HEAD"}),
        )[number]
        if method in allowed:
            return
        request = Request(method, path, route)
        answer = self.ask(request)
        assert answer.status == 405, answer
        assert set(answer.headers["allow"].split(", ")) == allowed, answer
        if method != "HEAD":
            self.refused(request, answer, 405, "method_not_allowed")

    @rule(
        tail=st.lists(
            st.sampled_from(["wallets", "operations", "x", "%2F", "%00", "%ff", "..", ".", "", "api", "v1", "*"])
        )
    )
    def ask_elsewhere(self, tail: list[str]) -> None:
        request = Request("GET", "/nothing/" + "/".join(tail))
        answer = self.ask(request)
        assert (answer.status, answer.code) == (404, "not_found"), (request, answer)

    @rule(number=st.integers(0, 1), request_id=inputs.REQUEST_IDS)
    def ask_for_health(self, number: int, request_id: str) -> None:
        path = ("/healthz", "/readyz")[number]
        answer = self.ask(Request("GET", path, path, (("X-Request-ID", request_id),)))
        assert (answer.status, answer.body) == (200, {"status": "ok", "missing": []}), answer
        is_sane = 0 < len(request_id) <= 128 and all(
            c.isascii() and (c.isalnum() or c in "._:/+=@-") for c in request_id
        )
        assert (answer.headers["x-request-id"] == request_id) is is_sane, answer

    @rule(number=st.integers(0, len(inputs.GARBAGE) - 1))
    def send_what_is_no_request(self, number: int) -> None:
        wire = self.target.wires[-1]
        try:
            wire.send(inputs.GARBAGE[number])
            answer = wire.receive()
        except ConnectionError:  # cut before all of it was read: then the answer may be lost
            return wire.close()
        self.target.document.check(Request("", ""), answer)
        assert (answer.status, answer.code) == (400, "bad_request"), answer
        return None

    # At the end, everything once more, wallets on either way.

    def teardown(self) -> None:
        """Compare every wallet and every history with the model, whole; after a failure there is nothing to add."""
        if (error := sys.exc_info()[1]) is not None:
            # What does not come again would be told by nobody: it is looked for once more before it is raised.
            if not self.target.first_failure and isinstance(error, AssertionError | OSError):
                self.target.first_failure.append("".join(traceback.format_exception(error)[-3:]))
            return
        for place, wallet in enumerate(self.wallets):
            for spelling in inputs.EITHER_WAY:
                self.read_wallet(place, spelling, "GET")
            for status, history in (("APPLIED", wallet.applied), ("REJECTED", wallet.rejected)):
                self.list_operations(place, status, ("500", 500), 1)
                assert len(history) <= 500
