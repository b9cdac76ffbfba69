"""What every problem document must be (RFC 9457), checked to the last field."""

from typing import Any

from tests.service import Answer

FIELDS = {"type", "title", "status", "detail", "instance", "code"}


def assert_problem(answer: Answer, status: int, code: str, instance: str, *members: str) -> None:
    """Check that an answer is exactly this problem: its fields are the six of every problem, and `members`."""
    assert (answer.status, answer.body["code"]) == (status, code), answer
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-ID"]
    assert answer.body.keys() == FIELDS | set(members), answer.body
    assert answer.body["type"] == f"urn:wallet:problem:{code}"
    assert (answer.body["status"], answer.body["instance"]) == (status, instance)
    assert all(answer.body[name] for name in ("title", "detail")), answer.body


def wrong_fields(answer: Answer) -> set[str]:
    """Return the fields that a validation problem names, each with a message."""
    errors: list[dict[str, Any]] = answer.body["errors"]
    assert all(error.keys() == {"field", "message"} and error["message"] for error in errors), errors
    return {error["field"] for error in errors}
