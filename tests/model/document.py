"""The OpenAPI document as a judge of answers: compiled once, since it judges every one of them.

Guarantees that an answer passes only with a status, a media type, a body and headers that the document names for its
route. Beside it stand the three problems that the server itself has for what is no route.
"""

from typing import Any

import jsonschema_rs

from tests.model.wire import Answer, Request

# What no route is needed for: nothing there, not this method, not HTTP.
SERVERS_OWN = {400: {"bad_request"}, 404: {"not_found"}, 405: {"method_not_allowed"}}


class Document:
    """A service's OpenAPI document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._components = document["components"]
        self._answers = {
            (path, method.upper(), int(status)): self._judge(answer)
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
            for status, answer in operation["responses"].items()
        }
        self._problem = self._compile({"$ref": "#/components/schemas/Problem"})

    def check(self, request: Request, answer: Answer) -> None:
        """Raise AssertionError unless the document allows this answer to this request."""
        assert answer.status < 500, answer
        method = "GET" if request.method == "HEAD" else request.method
        judge = self._answers.get((request.route or "", method, answer.status))
        if judge is None or (answer.status in SERVERS_OWN and answer.code in SERVERS_OWN[answer.status]):
            assert answer.status in SERVERS_OWN, f"undocumented: {answer}"
            media_type, required, validator = "application/problem+json", {"x-request-id"}, self._problem
            assert request.method == "HEAD" or answer.code in SERVERS_OWN[answer.status], answer
        else:
            media_type, required, validator = judge
        assert answer.headers["content-type"] == media_type, answer
        assert required <= answer.headers.keys(), answer
        if request.method != "HEAD":
            error = next(validator.iter_errors(answer.body), None)
            assert error is None, f"{error} in {answer}"

    def _judge(self, answer: dict[str, Any]) -> tuple[str, set[str], Any]:
        ((media_type, content),) = answer["content"].items()
        required = {name.lower() for name, header in answer["headers"].items() if header["required"]}
        return media_type, required, self._compile(content["schema"])

    def _compile(self, schema: dict[str, Any]) -> Any:
        whole = {**schema, "components": self._components}
        return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
