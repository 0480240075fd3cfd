"""The newest picture, the watch over a thread that hangs, and coming back; with feeds made up here."""

import logging
import threading
import time

import numpy as np
import pytest

from tests.io.streams import jpeg, number_of, picture
from visionkit.errors import DataError, SourceLostError, UsageError
from visionkit.io import live as module
from visionkit.io import reader
from visionkit.io.live import Live

WAIT = 10.0  # s: much longer than anything here takes


class Feed:
    """Gives what a list holds: pictures, events to wait for, errors to raise, seconds to sleep."""

    def __init__(self, *items, fps=0.0):
        self.items, self.fps = items, fps
        self.closed = threading.Event()

    def __iter__(self):
        for item in self.items:
            if isinstance(item, threading.Event):
                item.wait(WAIT)
            elif isinstance(item, Exception):
                raise item
            elif isinstance(item, float):
                time.sleep(item)
            else:
                yield item

    def close(self):
        self.closed.set()


def live(*feeds, **options):
    """A `Live` whose first attempt gets the first feed, and so on; the last one is given again and again."""
    begun = []

    def begin():
        feed = feeds[min(len(begun), len(feeds) - 1)]
        begun.append(feed)
        if isinstance(feed, Exception):
            raise feed
        return feed

    return Live(begin, "cam", **({"timeout": 0.2, "delay": 0.01, "reconnect": WAIT} | options))


def until(true):
    """Wait until something is true."""
    end = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "visionkit-reader"]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    until(lambda: not readers())


@pytest.fixture
def said(caplog):
    """What was logged, as a function."""
    caplog.set_level(logging.INFO, "visionkit")
    return lambda: [record.getMessage() for record in caplog.records]


def test_the_newest_picture_is_given_and_the_others_are_counted():
    """Torture V20."""
    more, end = threading.Event(), threading.Event()
    source = live(Feed(*map(picture, range(5)), more, *map(picture, range(5, 9)), end))
    pictures = iter(source)
    until(lambda: source.dropped == 4)
    assert number_of(next(pictures)) == 4
    before = time.monotonic()
    more.set()
    until(lambda: source.dropped == 7)
    assert number_of(next(pictures)) == 8
    assert before <= source.arrived <= time.monotonic()
    assert 0 < source.time < WAIT
    source.close()
    end.set()


def test_every_picture_is_given_to_one_who_is_fast_enough():
    gates = [threading.Event() for _ in range(8)]
    items = [item for number, gate in enumerate(gates) for item in (picture(number), gate)]
    source = live(Feed(*items))
    for number, gate, frame in zip(range(8), gates, source, strict=False):
        assert np.array_equal(frame, picture(number))
        gate.set()
    assert source.dropped == 0
    source.close()


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        (SourceLostError("refused", remedy="dial again"), SourceLostError, "cam: refused. Dial again"),
        (DataError("it sends text"), DataError, "cam: it sends text"),
        (UsageError("no region"), UsageError, "no region"),
        (OSError("broken"), SourceLostError, "cam: broken"),
        (ZeroDivisionError("by 0"), SourceLostError, "cam: ZeroDivisionError: by 0"),
        (
            SourceLostError("http://u:p@h/x?pw=p is down"),
            SourceLostError,
            r"http://\*\*\*@h/x\?\*\*\* is down",
        ),
        (Feed(), SourceLostError, "cam: the source ended"),
        (Feed(*[b"no picture", 0.02] * 100), SourceLostError, "cam: only damaged pictures"),
        (Feed(threading.Event()), SourceLostError, "cam: no picture for 0.2 seconds"),
    ],
)
def test_what_cannot_be_opened_is_told_at_once(wrong, kind, words, monkeypatch):
    """No patience at the beginning: addresses are mistyped more often than cameras boot."""
    begin = time.monotonic()
    monkeypatch.setattr(f"{__name__}.WAIT", 1.0)  # for the feed that hangs
    with pytest.raises(kind, match=words):
        live(wrong)
    assert time.monotonic() - begin < 5


def test_one_that_hangs_in_opening_is_abandoned():
    """Torture V16: what it gives later is closed at once."""
    gate, feed = threading.Event(), Feed(picture(1))

    def begin():
        gate.wait(WAIT)
        return feed

    with pytest.raises(SourceLostError, match=r"no answer within 0\.2 seconds"):
        Live(begin, "cam", timeout=0.2)
    gate.set()
    assert feed.closed.wait(WAIT)


class Clock:
    """A `time` that stands still but for what `pass_` adds, and the one who waits gets to see it."""

    def __init__(self):
        self._now, self._seen = 100.0, threading.Event()

    def monotonic(self):
        if threading.current_thread().name != "visionkit-reader":
            self._seen.set()
        return self._now

    def pass_(self, seconds):
        self._now += seconds
        self._seen.clear()
        self._seen.wait(1.0)


@pytest.mark.parametrize(
    ("before", "within", "opens"),
    [
        (4.0, [0.9, picture(1), 4.9, picture(2)], True),
        (4.0, [1.1, picture(1)], False),
        (0.0, [5.1, picture(1)], False),
        (4.0, [None, 4.9, picture(1), 4.9, picture(2)], True),
        (4.0, [None, 2.0, 3.1, picture(1)], False),
    ],
)
def test_all_steps_to_the_first_picture_have_one_time_limit(before, within, opens, monkeypatch):
    """Connecting and the picture together; but not, before a None, how long it takes to get there."""
    clock, hold = Clock(), threading.Event()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(reader, "time", clock)
    monkeypatch.setattr(module, "_SLICE", 0.001)

    class Slow(Feed):
        def __iter__(self):
            for item in within:
                if isinstance(item, float):
                    clock.pass_(item)
                else:
                    yield item
            hold.wait(WAIT)

    def begin():
        clock.pass_(before)
        return Slow()

    try:
        if opens:
            source = Live(begin, "cam", timeout=5.0, reconnect=0.0)
            pictures = iter(source)
            assert [number_of(next(pictures)) for item in within if isinstance(item, np.ndarray)]
            source.close()
        else:
            with pytest.raises(SourceLostError, match="no picture for 5 seconds"):
                Live(begin, "cam", timeout=5.0)
    finally:
        hold.set()


def test_one_that_hangs_later_is_replaced_and_its_late_pictures_are_ignored(said):
    """Torture V17, V18."""
    gate, end = threading.Event(), threading.Event()
    stuck = Feed(picture(1), gate, picture(2), picture(2))
    source = live(stuck, Feed(0.05, picture(3), end, picture(4)))
    pictures = iter(source)
    assert number_of(next(pictures)) == 1
    assert number_of(next(pictures)) == 3
    assert stuck.closed.is_set()
    assert "cam: no picture for 0.2 seconds; trying again in 0.01 s" in said()
    gate.set()
    until(lambda: len(readers()) == 1)
    end.set()
    assert number_of(next(pictures)) == 4
    source.close()


def test_waits_double_up_to_a_longest_and_begin_anew_after_a_picture(said, monkeypatch):
    """Torture V14."""
    monkeypatch.setattr(module, "_LONGEST", 0.05)
    down, end = SourceLostError("down"), threading.Event()
    feeds = [Feed(picture(1)), down, down, down, down, Feed(picture(2)), down, Feed(picture(3), end)]
    source = live(*feeds)
    pictures = iter(source)
    assert [number_of(next(pictures)) for _ in range(3)] == [1, 2, 3]
    waits = [text.split()[-2] for text in said() if "trying" in text]
    assert waits == ["0.01", "0.02", "0.04", "0.05", "0.05", "0.01", "0.02"]
    assert sum("back after 0 seconds" in text for text in said()) == 2
    end.set()
    source.close()


def test_a_source_is_lost_for_good_when_the_patience_is_spent():
    source = live(Feed(picture(1)), SourceLostError("down, see http://u:secret@host"), reconnect=0.3)
    begin = time.monotonic()
    pictures = iter(source)
    assert number_of(next(pictures)) == 1
    with pytest.raises(
        SourceLostError, match=r"cam: lost for good: no picture in 0.3 seconds; .*: down"
    ) as lost:
        next(pictures)
    assert 0.3 <= time.monotonic() - begin < 5
    assert lost.value.exit_code == 6
    assert "secret" not in str(lost.value)
    source.close()


def test_without_patience_the_first_loss_is_the_last():
    source = live(Feed(picture(1)), Feed(picture(2)), reconnect=0)
    pictures = iter(source)
    next(pictures)
    with pytest.raises(SourceLostError, match="the source ended"):
        next(pictures)
    source.close()


@pytest.mark.parametrize("raw", [jpeg(5), picture(5)], ids=["jpeg", "array"])
def test_a_picture_that_never_changes_is_a_loss(said, raw):
    """Torture V12: after a reconnection, too, until another one comes or the patience is spent."""
    same = Feed(*[raw, 0.02] * 400)
    gate = threading.Event()
    source = live(
        same, same, Feed(picture(6), gate, picture(6)), same, stale=0.15, reconnect=1.0, timeout=5.0
    )
    begin = time.monotonic()
    seen = []

    def watch():
        for frame in source:
            seen.append(number_of(frame))
            if seen[-1] == 6:
                gate.set()

    with pytest.raises(SourceLostError, match="the same picture for"):
        watch()
    assert set(seen) == {5, 6}
    assert time.monotonic() - begin > 1.0
    assert sum("the same picture for 0.15 seconds" in text for text in said()) >= 3
    gate.set()
    source.close()


def test_some_sources_may_stand_still(said):
    source = live(Feed(*[picture(5), 0.01] * 40), stale=0)
    for count, _ in enumerate(source):
        if count == 20:
            break
    assert said() == []
    source.close()


def test_one_change_of_a_pixel_is_a_change():
    frames = [picture(5, (300, 400)) for _ in range(40)]
    for number, frame in enumerate(frames):
        frame[2 * number, 6] = 255
    source = live(Feed(*[item for frame in frames for item in (frame, 0.01)]), stale=0.15, reconnect=0)
    with pytest.raises(SourceLostError, match="the source ended"):
        list(source)
    source.close()


def test_damaged_pictures_are_left_out_and_counted():
    """Torture V15."""
    gate = threading.Event()
    source = live(Feed(jpeg(1), 0.05, jpeg(2)[:300], 0.05, b"noise", 0.05, jpeg(3), gate))
    assert [number_of(frame) for _, frame in zip(range(2), source, strict=False)] == [1, 3]
    assert source.damaged == 2
    gate.set()
    source.close()


def test_only_damaged_pictures_are_a_loss(said):
    source = live(Feed(jpeg(1), 0.1, *[b"noise", 0.02] * 200), Feed(jpeg(2), 0.5))
    assert [number_of(frame) for _, frame in zip(range(2), source, strict=False)] == [1, 2]
    assert "only damaged pictures" in said()[0]
    source.close()


def test_the_size_of_pictures_may_change():
    """Torture V09."""
    sizes = [(48, 64), (120, 160), (8, 8)]
    feeds = [Feed(jpeg(number, size), 0.05) for number, size in enumerate(sizes)]
    source = live(*feeds)
    for number, size, frame in zip(range(3), sizes, source, strict=False):
        assert frame.shape == (*size, 3)
        assert number_of(frame) == number
    source.close()


def test_closing_ends_an_iteration_that_waits():
    gate = threading.Event()
    source = live(Feed(picture(1), gate), timeout=WAIT)
    seen = []
    thread = threading.Thread(target=lambda: seen.extend(source))
    thread.start()
    until(lambda: len(seen) == 1)
    source.close()
    thread.join(5)
    assert not thread.is_alive()
    gate.set()


def test_closing_ends_a_long_wait_between_attempts():
    source = live(Feed(picture(1)), SourceLostError("down"), delay=100.0, reconnect=1000.0)
    thread = threading.Thread(target=lambda: list(source))
    thread.start()
    time.sleep(0.1)
    source.close()
    thread.join(5)
    assert not thread.is_alive()


def test_fifty_losses_leave_one_thread():
    end = threading.Event()
    feeds = [Feed(picture(number % 16), SourceLostError("gone")) for number in range(50)]
    source = live(*feeds, Feed(picture(15), end), delay=0.0)
    seen = [number_of(frame) for _, frame in zip(range(51), source, strict=False)]
    assert seen == [number % 16 for number in range(50)] + [15]
    until(lambda: len(readers()) == 1)
    assert all(feed.closed.is_set() for feed in feeds)
    end.set()
    source.close()


def test_threads_that_hang_do_not_pile_up():
    gate = threading.Event()
    source = live(Feed(picture(1)), Feed(gate), timeout=0.02, reconnect=1.0)
    with pytest.raises(SourceLostError, match="lost for good"):
        list(source)
    assert len(readers()) <= module._STUCK
    gate.set()
    source.close()


def test_rates():
    """As the source says; else as pictures arrive, once enough have."""
    end = threading.Event()
    for fps, expected in ((12.5, 12.5), (0.0, 25.0), (float("nan"), 25.0), (90000.0, 25.0)):
        source = live(Feed(picture(1), end, fps=fps))
        assert source.fps == expected
        end.set()
        source.close()
    end.clear()
    source = live(Feed(*[item for number in range(12) for item in (picture(number), 0.02)], end))
    until(lambda: source.dropped >= 10)
    assert 5 < source.fps < 51
    end.set()
    source.close()
