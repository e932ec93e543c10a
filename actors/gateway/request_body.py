"""Reads a request's body, and no more of it than the limit."""

from fastapi import Request

from calmops.foundation.errors import InputError


async def read_bounded(request: Request, limit_bytes: int) -> bytes:
    """Return the whole body. Raises InputError as soon as it is larger than the limit."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit_bytes:
            raise InputError(f"the body is larger than the limit of {limit_bytes} bytes", code="body_too_large")
        chunks.append(chunk)
    return b"".join(chunks)
