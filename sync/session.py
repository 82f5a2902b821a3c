"""One connection about one sync set, without input or output: frames in, events and frames out.

    hello     both say what they have and how far they know each other's log
    mode      both say how to go on; the greater answer counts: equal, by cursor, by comparison
    live      what was found to differ is exchanged, then what is new is offered as it comes
    closed

Equality is seen, never assumed: a session is in sync when nothing is under way and the count and
fingerprint that the peer last told are this side's own. Where they stay different although nothing
is left to send, the sets are compared once more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Final

from sync import messages as msg
from sync import rules as bounds
from sync import standing
from sync.agreement import Agreement
from sync.allowance import Allowance
from sync.base import BlockSource, Clock, ItemStore, Phase, Verifier
from sync.claims import Claims
from sync.comparison import Comparison, way_on
from sync.errors import FrameError, OrderError, ProtocolError, StoreError, StoreFull
from sync.events import Closed, Differs, Event, Greeted, Status, Stored, Synced
from sync.intake import PUSH_BYTES_MAX, Intake, Taken
from sync.outlet import FRAME_BYTES_MIN, Outlet
from sync.owed import COMPARISON
from sync.rounds import Rounds
from sync.rules import Rules


class Session:
    """See the module. Call `to_send` until it returns None after every other call.

    Args:
        me, peer: DIDs; the channel has proved the peer's. The lower one starts comparisons.
        set_name: 32 bytes; a peer that may not see the set never gets here.
        claims: shared by all sessions of this node about this set.
        allowance: shared by all sessions of this node with this peer.

    Raises:
        StoreError: the set cannot be read; `status` raises it too, everything else ends with it.
    """

    def __init__(
        self,
        me: str,
        peer: str,
        set_name: bytes,
        store: ItemStore,
        verifier: Verifier,
        clock: Clock,
        *,
        blocks: BlockSource | None = None,
        claims: Claims | None = None,
        allowance: Allowance | None = None,
        rules: Rules | None = None,
    ) -> None:
        if me == peer:
            raise ValueError("a session needs two nodes")
        self.me = me
        self.peer = peer
        self.phase: Phase = "hello"
        self.ignored = self.bytes_in = self.bytes_out = 0
        self.brings = False  # the last frame taken, or made by `to_send`, holds items
        self._rules = rules or Rules()
        self.features = self._rules.features
        self._store = store
        self._clock = clock
        self._intake = Intake(store, verifier, peer, clock, claims or Claims(), self._rules.budget)
        self._outlet = Outlet(store, blocks, peer)
        self._allowed = allowance or Allowance()
        self._comparison = Comparison(store, clock, self._allowed.comparing)
        self._events: list[Event] = []
        self._ack: msg.Ack | None = None
        self._state: msg.State | None = None
        self._mode = msg.EQUAL
        now = clock.monotonic()
        self._began_at = self._busy_at = now
        self._offer_at: float | None = None
        self._claims_at: float | None = None
        self._store_at: float | None = None
        self._active = True  # something happened since the last look whether all is at rest
        self._mine = store.summary()
        self._hello = msg.Hello(
            set_name, self._mine, store.cursor(peer), self._rules.budget, self._rules.lanes,
            self._rules.frame_max, features=self._rules.features, hints=self._rules.hints,
        )  # fmt: skip
        self._greeting: msg.Hello | None = None
        self._agreement = Agreement(self._mine.content, clock, initiator=self._is_initiator)
        self._urgent: deque[msg.Message] = deque((self._hello,))
        self._rounds = Rounds(
            store, self._comparison, self._intake, self._outlet, self._mine.head,
            self._urgent.append, self._apply,
        )  # fmt: skip

    # What the owner calls.

    def receive(self, frame: bytes) -> list[Event]:
        """Take one frame of the peer. Errors of the peer end the session; none is raised."""
        self.brings = False
        if self.phase != "closed":
            self.bytes_in += len(frame)
            self._active = True
            self._guarded(lambda: self._take(frame))
        return self._drain()

    def to_send(self) -> bytes | None:
        """The next frame; None: nothing to send at this moment."""
        made: list[bytes] = []

        def make() -> None:
            message = self._next()
            if message is not None:
                self._active = True
                self.brings = isinstance(message, msg.Give)
                made.append(msg.encode(message))

        self._guarded(make)
        if not made and self.phase == "closed" and self._urgent:
            made.append(msg.encode(self._urgent.popleft()))
        self.bytes_out += sum(map(len, made))
        return made[0] if made else None

    def tick(self) -> list[Event]:
        """See to what is due by time. Harmless at any moment; needed after `wake_s`."""
        if self.phase != "closed":
            self._guarded(self._on_time)
        return self._drain()

    def wake_s(self) -> float | None:
        """Seconds until `tick` or `to_send` has something to do; None: only a frame can tell."""
        if self._events:
            return 0.0  # `to_send` found something out
        if self.phase == "closed":
            return None
        if self._outlet.goes_on and self._offer_at is None:
            return 0.0
        due = [at for at in self._deadlines() if at is not None]
        return max(0.0, min(due) - self._clock.monotonic()) if due else None

    def notify(self) -> None:
        """Items were added to the set, here or by another session."""
        if self.phase != "closed":
            self._outlet.due = self._active = True
            self._offer_at = self._offer_at or self._clock.monotonic() + bounds.OFFER_DELAY_S

    def fetch(self, ids: Collection[bytes] = (), blocks: Collection[bytes] = ()) -> None:
        """Ask for items and blocks whatever the budget; blocks are named by sha2-256 digests."""
        self._guarded(lambda: self._intake.demand(ids, blocks))

    def ask(self, questions: Collection[bytes]) -> None:
        """Ask which items answer these digests: `Answered`, or `Missed`, for each."""
        self._intake.ask(questions)

    def close(self, code: int = msg.DONE, why: str = "", retry_s: int | None = None) -> list[Event]:
        """Say goodbye; one more frame is to be sent."""
        self._end(code, why or msg.CODES[code], blame=False, retry_s=retry_s)
        return self._drain()

    def lost(self) -> list[Event]:
        """The connection is gone."""
        if self.phase != "closed":
            self._finish(Closed(None, "the connection was lost", False, False, None))
        self._urgent.clear()
        return self._drain()

    def lacks(self, id: bytes) -> bool:
        """Whether the peer offered an item that has not come."""
        return self._intake.lacks(id)

    @property
    def strikes(self) -> int:
        """Bad items of the peer."""
        return self._intake.strikes

    @property
    def is_idle(self) -> bool:
        return (
            self.phase == "live"
            and self._intake.is_idle
            and self._outlet.is_idle
            and self._rounds.is_idle
        )

    def status(self) -> Status:
        content, theirs = self._store.summary().content, self._agreement.theirs
        in_sync = self.is_idle and content == theirs
        counts = (content[0], None if theirs is None else theirs[0])
        why = "" if in_sync else self._reason(content)
        found = standing.status(self.phase, why, counts, self._intake, self._outlet)
        settled = not in_sync and self.is_idle and self._agreement.is_told(content)
        return replace(found, bytes_in=self.bytes_in, bytes_out=self.bytes_out, settled=settled)

    # Frames.

    def _take(self, frame: bytes) -> None:
        if len(frame) > self._rules.frame_max:
            raise FrameError(f"a frame of {len(frame)} bytes: this side told how much it reads")
        message = msg.parse(frame)
        now = self._clock.monotonic()
        self.brings = isinstance(message, msg.Give)
        if not self.brings and not self._allowed.control.add(len(frame) + bounds.FRAME_COST, now):
            self._end(
                msg.BUSY, "too much traffic that brings nothing", blame=True, retry_s=bounds.RETRY_S
            )
            return
        if isinstance(message, msg.Unknown):
            self.ignored += 1
            return
        if not isinstance(message, msg.Hello | msg.Mode | msg.Bye) and self.phase != "live":
            raise OrderError(f"a frame of kind {type(message).__name__} before its time")
        if not isinstance(message, msg.State):
            self._busy_at = now
        _HANDLERS[type(message)](self, message)
        self._rest()

    def _on_hello(self, hello: msg.Hello) -> None:
        if self._greeting is not None:
            if hello != self._greeting:
                raise OrderError("a second hello")
            return
        if hello.set != self._hello.set:
            self._end(msg.UNAUTHORISED, "the peer is about another set", blame=False)
            return
        if hello.frame_max < FRAME_BYTES_MIN:
            raise FrameError(f"frames of {hello.frame_max} bytes are too short for an item")
        self._greeting = hello
        self._agreement.hear(hello.summary.content, hello.summary.head)
        self._intake.epoch = hello.summary.epoch
        self._outlet.greet(hello)
        self._comparison.bytes_max = min(msg.COMPARE_BYTES_MAX, hello.frame_max - 64)
        self._mode = way_on(hello, self._mine, self._store, audit=self._rules.audit)
        self._urgent.append(msg.Mode(self._mode))
        self.phase = "mode"
        self._events.append(Greeted(hello))
        if self._mode == msg.BY_COMPARISON and self._is_initiator:
            self._start_round(is_audit=False)  # whatever mode the peer chooses

    def _on_mode(self, message: msg.Mode) -> None:
        if self._greeting is None:
            raise OrderError("a mode before the hello")
        if self.phase == "live":
            return
        self.phase = "live"
        mode = max(self._mode, message.mode)
        cursor = self._greeting.cursor
        if mode == msg.BY_COMPARISON and self._is_initiator:
            self._start_round(is_audit=False)  # unless it did so already
        elif mode == self._mode == msg.BY_CURSOR and cursor is not None:
            self._outlet.start(cursor.at.seq)
        else:
            self._outlet.start(self._mine.head.seq)

    def _on_offer(self, offer: msg.Offer) -> None:
        self._outlet.offered(offer.ids)
        self._apply(self._intake.offer(offer))

    def _on_give(self, give: msg.Give) -> None:
        self._apply(self._intake.give(give))

    def _on_compare(self, compare: msg.Compare) -> None:
        if self._is_initiator:
            self._on_reply(compare.message)
        elif any(isinstance(waiting, msg.Compare) for waiting in self._urgent):
            self.ignored += 1  # the peer does not wait for its answer
        else:
            reply = self._comparison.answer(compare.message)
            if reply is None:
                self._end(msg.BUSY, "comparing took too long", blame=False, retry_s=bounds.RETRY_S)
                return
            self._intake.push_left = PUSH_BYTES_MAX
            self._urgent.append(msg.Compare(reply))

    def _on_reply(self, message: bytes) -> None:
        if not self._rounds.is_waiting:
            self.ignored += 1
            return
        assert self._greeting is not None, "a comparison is under way"
        self._intake.owed.settle([COMPARISON])
        self._rounds.take(message, self._greeting.summary.head)
        self._expect_answer()

    def _on_want(self, want: msg.Want) -> None:
        known = self._outlet.want(want.ids)
        self._allowed.control.add(-known * bounds.WANT_CREDIT, self._clock.monotonic())

    def _on_ack(self, ack: msg.Ack) -> None:
        self._outlet.ack(ack)

    def _on_miss(self, miss: msg.Miss) -> None:
        self._apply(self._intake.miss(miss.ids))

    def _on_ask(self, ask: msg.Ask) -> None:
        self._allowed.control.add(len(ask.questions) * bounds.ASK_COST, self._clock.monotonic())
        self._outlet.ask(ask.questions)

    def _on_state(self, state: msg.State) -> None:
        self._agreement.hear((state.count, state.fingerprint), state.head)

    def _on_bye(self, bye: msg.Bye) -> None:
        name = msg.CODES[bye.code] if bye.code < len(msg.CODES) else str(bye.code)
        self._finish(Closed(bye.code, f"the peer ended it: {name}", False, False, bye.retry_s))

    # Rounds and rest.

    @property
    def _is_initiator(self) -> bool:
        return self.me < self.peer

    def _start_round(self, *, is_audit: bool) -> None:
        theirs = self._agreement.theirs
        assert theirs is not None, "the peer said hello"
        waiting = self._rounds.is_waiting
        self._rounds.start(theirs[0], is_audit=is_audit)
        self._expect_answer(waiting)

    def _go_on_comparing(self) -> None:
        """What was found is settled, or not yet: then nothing happens."""
        theirs, waiting = self._agreement.theirs, self._rounds.is_waiting
        if not self._rounds.go_on(0 if theirs is None else theirs[0]):
            self._end(msg.BUSY, "comparing leads nowhere", blame=False, retry_s=bounds.RETRY_S)
        self._expect_answer(waiting)

    def _expect_answer(self, waiting: bool = False) -> None:
        """Note that the peer owes one to a comparison; `waiting`: it did so before."""
        if self._rounds.is_waiting and not waiting:
            self._intake.owed.ask([COMPARISON])

    def _rest(self) -> None:
        """See whether the sets are equal, and tell the peer of this one when nothing goes on."""
        if self.phase == "live" and not self._rounds.is_idle:
            self._go_on_comparing()
        if not self.is_idle:
            return
        mine, agreement = self._store.summary(), self._agreement
        verdict = agreement.judge(mine, self._busy_at, self._clock.monotonic())
        if verdict.equal:
            if agreement.their_head is not None:
                self._intake.jump(agreement.their_head)
            self._events.append(Synced(mine.count))
        if verdict.tell:
            self._state = msg.State(mine.count, mine.fingerprint, mine.head)
        if verdict.differs:
            self._events.append(Differs(self._reason(mine.content)))
        if verdict.audit:
            self._start_round(is_audit=True)

    def _reason(self, content: tuple[int, bytes]) -> str:
        told = self._agreement.is_told(content)
        self._intake.look_again(content)
        return standing.reason(
            self.phase, self._intake, self._outlet, comparing=self._rounds.is_waiting, told=told
        )

    # Time.

    def _deadlines(self) -> tuple[float | None, ...]:
        return (
            self._began_at + bounds.HELLO_S_MAX if self.phase in ("hello", "mode") else None,
            self._intake.owed.until,
            self._offer_at if self.phase == "live" else None,
            *((self._agreement.state_at, self._agreement.audit_at) if self.is_idle else ()),
            self._claims_at,
            self._store_at,
        )

    def _on_time(self) -> None:
        now = self._clock.monotonic()
        if self.phase in ("hello", "mode") and now >= self._began_at + bounds.HELLO_S_MAX:
            self._end(msg.BUSY, "the peer does not say hello", blame=False, retry_s=bounds.RETRY_S)
            return
        until = self._intake.owed.until
        if until is not None and now >= until:
            self._end(
                msg.BUSY, "the peer does not give what it has", blame=False, retry_s=bounds.RETRY_S
            )
            return
        if self._claims_at is not None and now >= self._claims_at:
            self._claims_at = None
            self._apply(self._intake.look_elsewhere())
        if self._store_at is not None and now >= self._store_at:
            self._apply(self._intake.flush())
        self._rest()

    # Sending.

    def _next(self) -> msg.Message | None:
        if self._urgent:
            return self._urgent.popleft()
        if self.phase != "live":
            return None
        if questions := self._intake.next_questions():
            return self._asked(msg.Ask(questions))
        wants, late = self._intake.next_want()
        self._apply(late)  # it also sees to what other sessions ask for
        if wants:
            return self._asked(msg.Want(wants))
        if self._ack is not None:
            ack, self._ack = self._ack, None
            return ack
        now = self._clock.monotonic()
        found = self._outlet.next(offers=self._offer_at is None or now >= self._offer_at)
        if self._offer_at is not None and now >= self._offer_at:
            self._offer_at, self._active = None, True  # the outlet goes on by itself from here
        if self._outlet.given_bytes > self._rules.give_budget:
            self._end(msg.BUDGET, "sent as much as it may", blame=False, retry_s=bounds.RETRY_S)
            return self._urgent.popleft()
        if found is None and self._active:
            self._active = False
            self._rest()
        if found is None and self._urgent:
            return self._urgent.popleft()
        if found is None:
            found, self._state = self._state, None
        return found

    def _asked(self, message: msg.Message) -> msg.Message:
        self._busy_at = self._clock.monotonic()
        return message

    def _apply(self, taken: Taken) -> None:
        self._events += taken.events
        if taken.ack is not None and (self._ack is None or taken.ack.at.seq > self._ack.at.seq):
            self._ack = taken.ack
        now = self._clock.monotonic()
        if stored := sum(len(one.ids) for one in taken.events if isinstance(one, Stored)):
            self._allowed.control.add(-stored * bounds.CONTROL_CREDIT, now)
            self.notify()
        if self._intake.has_elsewhere and self._claims_at is None:
            self._claims_at = now + bounds.CLAIMS_POLL_S
        if not self._intake.is_storing:
            self._store_at = None
        elif self._store_at is None:
            self._store_at = now + bounds.STORE_DELAY_S
        if self._intake.strikes >= bounds.STRIKES_MAX:
            self._end(msg.PROTOCOL, "too many bad items", blame=True, retry_s=bounds.BLAME_RETRY_S)

    # The end.

    def _guarded(self, act: Callable[[], object]) -> None:
        """Errors end the session, in the way that fits them."""
        try:
            act()
        except ProtocolError as error:
            self._end(msg.PROTOCOL, str(error), blame=True, retry_s=bounds.BLAME_RETRY_S)
        except StoreFull as error:
            self._end(msg.DISK, str(error), blame=False, retry_s=bounds.RETRY_S)
        except StoreError as error:
            self._end(msg.BUSY, str(error), blame=False, retry_s=bounds.RETRY_S)

    def _end(self, code: int, why: str, *, blame: bool, retry_s: int | None = None) -> None:
        if self.phase != "closed":
            self._finish(Closed(code, why, True, blame, retry_s))
            self._urgent.append(msg.Bye(code, retry_s))

    def _finish(self, closed: Closed) -> None:
        self.phase = "closed"
        self._urgent.clear()
        self._apply(self._intake.end())
        blame = closed.blame or self._intake.strikes >= bounds.STRIKES_MAX
        self._events.append(replace(closed, blame=blame))

    def _drain(self) -> list[Event]:
        events, self._events = self._events, []
        return events


_HANDLERS: Final[dict[type, Callable[[Session, Any], None]]] = {
    msg.Hello: Session._on_hello,
    msg.Mode: Session._on_mode,
    msg.Offer: Session._on_offer,
    msg.Compare: Session._on_compare,
    msg.Want: Session._on_want,
    msg.Give: Session._on_give,
    msg.Ack: Session._on_ack,
    msg.Miss: Session._on_miss,
    msg.Ask: Session._on_ask,
    msg.State: Session._on_state,
    msg.Bye: Session._on_bye,
}
