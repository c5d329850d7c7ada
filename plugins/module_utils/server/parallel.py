# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Calls in threads, where one that fails does not hide the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ..core.errors import ServingError

T = TypeVar("T")
R = TypeVar("R")


def attempt(call: Callable[[T], R], item: T) -> R | ServingError:
    """The call's result, or the ServingError that it raised."""
    try:
        return call(item)
    except ServingError as error:
        return error


def each(call: Callable[[T], R], items: Sequence[T], workers: int) -> list[R | ServingError]:
    """Calls for each item, at most `workers` at a time. Results keep the order; a ServingError stands in the place of its result."""
    if len(items) <= 1 or workers <= 1:
        return [attempt(call, item) for item in items]
    # Imported here: it costs as much start-up time as the rest of this package, and one server with one model needs none of it.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(workers, len(items))) as pool:
        return list(pool.map(lambda item: attempt(call, item), items))
