"""Amazon S3, by boto3: imported only where something is put there (requirements/s3.txt)."""

import asyncio
import logging
from functools import lru_cache
from typing import Any

from common.errors import FactoryError, Unavailable

logger = logging.getLogger(__name__)

CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 3, 20, 4
RETRY_SECONDS = 5.0


async def put(bucket: str, key: str, body: bytes, media_type: str) -> None:
    """Raises Unavailable when it could not be put there, FactoryError where boto3 is not installed."""
    try:
        client = await asyncio.to_thread(_client)
    except ImportError:
        raise FactoryError("boto3 is not installed: build the image with EXTRAS=s3") from None
    try:
        await asyncio.to_thread(client.put_object, Bucket=bucket, Key=key, Body=body, ContentType=media_type)
    except Exception:
        # The caller is not told of buckets and roles.
        logger.exception("nothing could be put into the bucket %s", bucket)
        raise Unavailable(
            "the answer could not be put into the bucket; the log has the reason", RETRY_SECONDS
        ) from None


@lru_cache(maxsize=1)
def _client() -> Any:
    import boto3
    from botocore.config import Config

    limits = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "max_attempts": ATTEMPTS},
    )
    return boto3.client("s3", config=limits)
