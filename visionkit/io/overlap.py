"""Work that overlaps: what comes next is fetched ahead, what is done is put away behind, each on a thread.

Order is kept, only `room` things wait, and whoever uses it computes in its own thread. Errors come out where
the work is asked for, as if there were no thread. For what must not wait, such as frames of a camera, use
neither.

Whoever has many such works, one after the other, has a `worker` for either side: threads that come and go
change places in the C library's pools of memory, and what an encoder needs is then held in each of them.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

from ..kernels import jit

T = TypeVar("T")
_END: Any = object()


@contextmanager
def ahead(
    items: Iterable[T], room: int = 2, thread: ThreadPoolExecutor | None = None
) -> Iterator[Iterator[T]]:
    """The same items, of which up to `room` are ready or under way before they are asked for.

    At the end of the block nothing is fetched any more.

    Args:
        items: what to fetch.
        room: how many may wait.
        thread: a `worker` that has nothing else to do meanwhile; without one a thread for this block alone.

    Raises:
        Exception: what `items` raise, after the items before it.
    """
    each = iter(items)
    with _one(thread) as thread:
        waiting = deque(thread.submit(next, each, _END) for _ in range(room))

        def fetched() -> Iterator[T]:
            while (item := waiting[0].result()) is not _END:
                waiting.popleft()
                waiting.append(thread.submit(next, each, _END))
                yield item

        try:
            yield fetched()
        finally:
            _end(waiting, drop=True)


@contextmanager
def behind(
    take: Callable[..., object], room: int = 2, thread: ThreadPoolExecutor | None = None
) -> Iterator[Callable[..., None]]:
    """A function with the arguments of `take` that waits for it only where `room` calls are not yet done.

    At the end of the block, whatever ended it, everything that was given has been taken. After an error of
    `take` nothing more is. `thread` is as of `ahead`.

    Raises:
        Exception: what `take` raises, at the next call or at the end of the block.
    """
    waiting: deque[Future[None]] = deque()
    well = True

    def one(*what: Any) -> None:
        nonlocal well
        if well:
            well = False
            take(*what)
            well = True

    with _one(thread) as thread:

        def give(*what: Any) -> None:
            while waiting and (waiting[0].done() or len(waiting) >= room):
                waiting[0].result()
                waiting.popleft()
            waiting.append(thread.submit(one, *what))

        try:
            yield give
        finally:
            _end(waiting, drop=False)
            for call in waiting:
                call.result()


def _end(calls: Collection[Future[Any]], drop: bool) -> None:
    """Wait until no call is under way, for files are closed next; `drop` those that have not begun.

    Another Ctrl-C drops them too. (`Thread.join` forgets what it waits for when it is interrupted.)
    """
    if drop:
        for call in calls:
            call.cancel()
    try:
        wait(calls)
    except KeyboardInterrupt:
        if not drop:
            _end(calls, drop=True)
        raise


def worker() -> ThreadPoolExecutor:
    """One thread, on which kernels use as many threads as on this one; a context manager that ends it."""
    return ThreadPoolExecutor(1, "visionkit", jit.set_threads, (jit.threads(),))


def _one(thread: ThreadPoolExecutor | None) -> AbstractContextManager[ThreadPoolExecutor]:
    return nullcontext(thread) if thread else worker()
