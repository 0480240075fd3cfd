"""Work on threads before and behind one's own: order, bounds, errors, ends. The oracle is a list."""

import contextlib
import signal
import threading
import time
from itertools import count

import pytest

from visionkit.io.overlap import ahead, behind, worker
from visionkit.kernels import jit

LONG = 20  # seconds, after which a test has hung


def settled(values, length):
    """Wait until a list has a length, and a little longer for what should not come."""
    end = time.monotonic() + LONG
    while len(values) < length and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(0.03)
    return list(values)


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def telling(items, told):
    for item in items:
        told.append(item)
        yield item


@pytest.mark.parametrize("room", [1, 2, 5, 50])
@pytest.mark.parametrize("length", [0, 1, 2, 20])
def test_all_items_come_once_and_in_order(room, length):
    with ahead(iter(range(length)), room) as items:
        assert list(items) == list(range(length))


@pytest.mark.parametrize("room", [1, 2, 4])
def test_so_many_are_fetched_ahead_and_no_more(room):
    told = []
    with ahead(telling(count(), told), room) as items:
        assert settled(told, room) == list(range(room))
        for taken in range(3):
            assert next(items) == taken
            assert len(settled(told, taken + 1 + room)) == taken + 1 + room


def test_the_next_is_fetched_while_this_one_is_worked_on():
    fetching = [threading.Event() for _ in range(4)]

    def numbers():
        for number, event in enumerate(fetching):
            event.set()
            yield number

    with ahead(numbers(), 1) as items:
        for number in items:
            assert all(event.wait(LONG) for event in fetching[: number + 2])


def test_an_error_comes_after_the_items_before_it():
    def numbers():
        yield from range(3)
        raise OSError("gone")

    seen = []
    with pytest.raises(OSError, match="gone"), ahead(numbers(), 5) as items:
        seen.extend(items)
    assert seen == [0, 1, 2]


def test_nothing_is_fetched_after_the_block():
    told = []

    def stop_early():
        with ahead(telling(count(), told)) as items:
            next(items)
            raise KeyError

    with pytest.raises(KeyError):
        stop_early()
    at_the_end = len(told)
    assert len(settled(told, 1)) == at_the_end <= 4


@pytest.mark.parametrize("room", [1, 2, 5, 50])
@pytest.mark.parametrize("length", [0, 1, 2, 20])
def test_all_calls_are_made_once_and_in_order(room, length):
    taken = []
    with behind(lambda a, b: taken.append((a, b)), room) as take:
        for number in range(length):
            take(number, -number)
    assert taken == [(number, -number) for number in range(length)]


@pytest.mark.parametrize("room", [1, 2, 4])
def test_a_slow_taker_holds_the_giver_back(room):
    taken, given, open_ = [], [], threading.Semaphore(0)

    def slow(number):
        open_.acquire(timeout=LONG)
        taken.append(number)

    def give():
        with behind(slow, room) as take:
            for number in range(room + 3):
                take(number)
                given.append(number)

    giver = threading.Thread(target=give)
    giver.start()
    for freed in range(3):
        assert len(settled(given, room + freed)) == room + freed
        assert len(taken) == freed
        open_.release()
    for _ in range(room):
        open_.release()
    giver.join(LONG)
    assert taken == given == list(range(room + 3))


def test_an_error_of_the_taker_comes_out_and_ends_the_taking():
    taken, asked = [], threading.Event()

    def take_two(number):
        if number == 2:
            asked.wait(LONG)
            raise OSError("disk full")
        taken.append(number)

    def give():
        with behind(take_two, 8) as take:
            for number in range(6):
                take(number)
            asked.set()
            for number in range(6, 1000):
                take(number)
                time.sleep(0.001)
            raise AssertionError("the error came too late")

    with pytest.raises(OSError, match="disk full"):
        give()
    assert taken == [0, 1]


def test_an_error_of_the_last_call_comes_at_the_end():
    with pytest.raises(ZeroDivisionError), behind(lambda number: 1 / number) as take:
        take(0)


def test_after_an_error_of_the_giver_the_rest_is_taken():
    taken, open_ = [], threading.Event()

    def slow(number):
        open_.wait(LONG)
        taken.append(number)

    def give():
        with behind(slow, 4) as take:
            for number in range(3):
                take(number)
            timer.start()
            raise KeyboardInterrupt

    timer = threading.Timer(0.05, open_.set)
    with pytest.raises(KeyboardInterrupt):
        give()
    assert taken == [0, 1, 2]
    timer.join()


def test_of_two_errors_that_of_the_earlier_frame_counts():
    def give():
        with behind(lambda number: 1 / number) as take:
            take(0)
            raise OSError("the video is cut short")

    with pytest.raises(ZeroDivisionError) as raised:
        give()
    assert isinstance(raised.value.__context__, OSError)


def test_a_second_interrupt_drops_what_waits_but_not_what_is_being_taken():
    """Whoever closes the file next must be alone with it."""
    begun, open_, taken = threading.Event(), threading.Event(), []
    main = threading.main_thread().ident
    former = signal.signal(signal.SIGINT, signal.default_int_handler)

    def slow(number):
        begun.set()
        open_.wait(LONG)
        taken.append(number)

    def again():
        signal.pthread_kill(main, signal.SIGINT)
        time.sleep(0.1)
        open_.set()

    def give():
        with behind(slow, 4) as take:
            for number in range(4):
                take(number)
            begun.wait(LONG)
            timer.start()
            raise KeyboardInterrupt

    timer = threading.Timer(0.2, again)
    try:
        with pytest.raises(KeyboardInterrupt):
            give()
        assert taken == [0]
        timer.join()
    finally:
        signal.signal(signal.SIGINT, former)


def test_kernels_use_as_many_threads_there_as_here():
    if jit.threads() < 2:
        pytest.skip("one thread only: nothing to compare")
    for threads in (1, 2):
        jit.set_threads(threads)
        seen: list[int] = []
        with behind(lambda told: told.append(jit.threads())) as take:
            take(seen)
        with ahead(jit.threads() for _ in range(1)) as items:
            assert [*items] == [threads]
        assert seen == [threads]


def test_a_worker_is_used_again_also_after_errors():
    taken, threads = [], set()

    def take(number):
        threads.add(threading.current_thread())
        taken.append(10 // number)

    def numbers(first):
        threads.add(threading.current_thread())
        yield from range(first, 4)
        raise OSError("gone")

    with worker() as thread:
        for first in (1, 0, 2):
            with pytest.raises(OSError, match="gone"), ahead(numbers(first), thread=thread) as items:
                assert list(items)
            with contextlib.suppress(ZeroDivisionError), behind(take, thread=thread) as give:
                for number in range(first, 4):
                    give(number)
    assert taken == [10, 5, 3, 5, 3]
    assert len(threads) == 1
    assert not threads.pop().is_alive()
