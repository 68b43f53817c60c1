"""Numbers of callers. JSON has one kind of number (RFC 8259): 5.0 is the whole number 5, in openapi.json as well."""

from typing import Any

from pydantic import BeforeValidator


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Behind the bounds of an Annotated[int, ..]: in front of them pydantic leaves them out of the schema.
AnyWholeNumber = BeforeValidator(_whole)
