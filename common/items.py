"""Items of a direct invocation: what each is asked with, and what becomes of its answer."""

import base64
import hashlib
import json
import mimetypes
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from common import object_store
from common.errors import FactoryError, FieldError, InvalidInput
from common.http.direct import Answer
from common.http.events import EVENT_STREAM

JSON = "application/json"
NAME_CHARACTERS = 100
Result = dict[str, Any]


@dataclass(frozen=True)
class Direct:
    """What a function tells of itself so that it can be invoked directly.

    `path` is its route and `body` the schema of it. Of a batch, `at_a_time` items are at work at the same time. `told`
    are headers of an answer that is no JSON, by the names that they get. With `bucket`, such an answer goes into it,
    below `folder`. `too_large`: what to do when there is no room for an answer.
    """

    path: str
    body: type[BaseModel]
    at_a_time: Callable[[], int]
    told: Mapping[str, str] = field(default_factory=dict)
    bucket: Callable[[], str | None] = lambda: None
    folder: str = ""
    too_large: str = "send fewer items in a batch"

    def is_meant(self, event: Any) -> bool:
        """Whether an event is a direct invocation. What comes by a front door never is: there keys are asked for."""
        if not isinstance(event, dict) or "requestContext" in event:
            return False
        return "Items" in event or not self.body.model_fields.keys().isdisjoint(event)

    def row(self, item: Any, shared: Mapping[str, Any]) -> dict[str, Any]:
        """The body for an item of a batch. `shared` are the fields that are the same for all.

        Further columns of a corpus are left out, and so are empty ones. CSV knows nothing but strings: what the schema
        takes no string for is read as JSON, if it is some.
        """
        if not isinstance(item, dict):
            raise InvalidInput([FieldError("item", "must be an object")])
        known = {name: value for name, value in item.items() if name in self.body.model_fields and value != ""}
        return {**shared, **{name: self._read(name, value) for name, value in known.items()}}

    async def result(self, name: Any, body: bytes, answer: Answer) -> Result:
        """Raises FactoryError for a problem of putting it into the bucket."""
        media_type = answer.headers.get("content-type", "").partition(";")[0]
        if answer.status >= 400:
            return {"id": name, "problem": json.loads(answer.body)}
        if media_type == JSON:
            return {"id": name, "answer": json.loads(answer.body)}
        if media_type == EVENT_STREAM:
            raise InvalidInput([FieldError("stream", "a direct invocation answers all at once")])
        told: Result = {"content_type": media_type}
        told |= {ours: answer.headers[header] for header, ours in self.told.items() if header in answer.headers}
        if (bucket := self.bucket()) is None:
            return {"id": name, "answer": told | {"base64": base64.b64encode(answer.body).decode()}}
        key = object_key(self.folder, name, body, media_type)
        await object_store.put(bucket, key, answer.body, media_type)
        return {"id": name, "answer": told | {"bucket": bucket, "key": key, "bytes": len(answer.body)}}

    def _read(self, name: str, value: Any) -> Any:
        if not isinstance(value, str) or name not in self._no_strings:
            return value
        try:
            return json.loads(value.strip().lower() if value.strip().lower() in ("true", "false") else value)
        except ValueError:
            # The schema says what is wrong with it.
            return value

    @cached_property
    def _no_strings(self) -> frozenset[str]:
        """The fields that take no string."""
        properties = self.body.model_json_schema()["properties"]
        kinds = {
            name: {one.get("type") for one in schema.get("anyOf", [schema])} for name, schema in properties.items()
        }
        return frozenset(name for name, found in kinds.items() if "string" not in found)


def name_of(item: Any) -> Any:
    """The item's `id`; without one it is made of the content, so that the same item has the same one again."""
    own = item.get("id") if isinstance(item, dict) else None
    if isinstance(own, (str, int, float)) and own != "":
        return own
    content = json.dumps(item, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def object_key(folder: str, name: Any, body: bytes, media_type: str) -> str:
    """One that is safe as the name of a file, for whatever the item is called: `folder/news-17-9f86d081884c7d65.mp3`.

    The end is of the item's name and of what was asked for: the same again overwrites itself, and nothing else.
    """
    end = hashlib.sha256(json.dumps(name).encode() + b"\n" + body).hexdigest()[:16]
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", str(name)).strip("-")[:NAME_CHARACTERS]
    return f"{folder}/{readable}-{end}{mimetypes.guess_extension(media_type) or '.bin'}"


def problem(name: Any, error: FactoryError, instance: str) -> Result:
    return {"id": name, "problem": error.problem(instance)}


def size_of(value: Any) -> int:
    """Bytes of it as JSON in UTF-8, as Lambda's runtime sends it and Step Functions counts it."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
