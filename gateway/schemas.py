"""The shapes of the REST contract: what a body must be, and what the OpenAPI document says of every answer."""

from datetime import datetime
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from shared.commands import Reason
from shared.money import AMOUNT_PATTERN, parse_amount

MONEY_PATTERN = r"^[0-9]{1,16}\.[0-9]{2}$"
Money = Annotated[str, Field(pattern=MONEY_PATTERN, description="A decimal with two decimals.", examples=["1000.50"])]

# Two spellings of one thing. A validator that makes floats of numbers may be wrong about the multiple of 0.01 of a
# large one; the service is not.
_AMOUNT_SCHEMA = {
    "description": "Money to move: greater than 0, at most 16 digits before the point and 2 after it. "
    "A number token is read exactly.",
    "anyOf": [
        {"type": "string", "pattern": AMOUNT_PATTERN, "not": {"pattern": r"^0(\.0{1,2})?$"}},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 10**16, "multipleOf": 0.01},
    ],
    "examples": [1000.50, "1000.50"],
}
Amount = Annotated[int, BeforeValidator(parse_amount), WithJsonSchema(_AMOUNT_SCHEMA)]

Example = Annotated[UUID, Field(examples=["01920a5e-7b1c-7c3a-9f00-5d2f8f3b9a10"])]


# A field that is there or not there, and never null.
Absent = SkipJsonSchema[None]
Sometimes = partial(Field, None, json_schema_extra=lambda schema: schema.pop("default"))


class OperationRequest(BaseModel):
    """What to do with a wallet."""

    model_config = ConfigDict(extra="forbid")

    operation_type: Literal["DEPOSIT", "WITHDRAW"]
    amount: Amount


class EmptyRequest(BaseModel):
    """A wallet starts empty: there is nothing to say of it."""

    model_config = ConfigDict(extra="forbid")


class WalletView(BaseModel):
    """A wallet."""

    id: Example
    balance: Money
    created_at: datetime
    updated_at: datetime = Field(description="When its last applied operation was decided.")


class OperationView(BaseModel):
    """An operation: decided, or PENDING."""

    id: Example
    operation_type: Literal["DEPOSIT", "WITHDRAW"]
    amount: Money
    status: Literal["APPLIED", "REJECTED", "PENDING"]
    reason: Reason | Absent = Sometimes(description="Why it was rejected; only on rejected operations.")
    seq: Annotated[int, Field(ge=1)] | None = Field(description="Its number among the wallet's applied operations.")
    balance: Money | None = Field(description="The wallet's balance right after it.")
    created_at: datetime = Field(description="When the service received it.")
    applied_at: datetime | None


class AppliedView(WalletView):
    """The wallet after the operation, and the operation."""

    operation: OperationView


class PendingView(BaseModel):
    """An operation that was accepted and will be decided exactly once."""

    operation: OperationView


class OperationPage(BaseModel):
    """A page of a wallet's operations, newest first."""

    items: list[OperationView]
    next_cursor: str | None = Field(description="Ask with it for the next page; null on the last one.")


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    instance: str
    code: str
    errors: list[FieldError] | Absent = Sometimes(description="Each field that is not acceptable.")
    balance: Money | Absent = Sometimes(description="The balance that a rejected operation met.")
    operation_id: UUID | Absent = Sometimes(description="The rejected operation, as it stands in the books.")


class Health(BaseModel):
    """What the service says of itself."""

    status: Literal["ok", "unavailable"]
    missing: list[str] = Field(description="What is not there.")
