"""Questions about instructions to several peers, and whoever waits for the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence

from lite.peering.names import RECORDS
from sync.peers import ANSWERS, PeerBook
from sync.talk import Talk
from sync.within import within

IdOf = Callable[[bytes], bytes]


def with_answers(talks: Iterable[Talk], book: PeerBook, issuers: Collection[str]) -> list[Talk]:
    """The conversations about records with those whose receipts count as answers here: by the right
    `answers`, or because they are among the issuers that the owner trusts."""
    return [
        talk
        for talk in talks
        if talk.channel.set == RECORDS
        and (book.may(talk.session.peer, ANSWERS) or talk.session.peer in issuers)
    ]


class _Question:
    """One digest: who has not answered yet, and the receipts that came."""

    def __init__(self) -> None:
        self.waits: set[str] = set()
        self.raws: dict[bytes, None] = {}
        self.users = 0
        self.moved = asyncio.Event()


class Asking:
    """The open questions about one set.

    Args:
        enough: answers to a question after which it does not wait for other peers.
    """

    def __init__(self, enough: int) -> None:
        self._enough = enough
        self._open: dict[bytes, _Question] = {}

    async def ask(
        self, digests: Collection[bytes], talks: Sequence[Talk], within_s: float
    ) -> list[bytes]:
        """Ask all of them at once; the receipts that came, until every question is answered, or
        everybody has said that there is none, or the time is over.

        Args:
            talks: conversations with the peers to ask, one a peer.
        """
        questions = {digest: self._open.setdefault(digest, _Question()) for digest in digests}
        for question in questions.values():
            question.users += 1
        self._send(questions, talks)
        waiting = [self._settled(question) for question in questions.values()]
        try:
            await within(asyncio.gather(*waiting), within_s)
        except asyncio.TimeoutError:
            pass  # what came until now counts
        finally:
            for digest, question in questions.items():
                question.users -= 1
                if not question.users:
                    self._open.pop(digest, None)
        return list(dict.fromkeys(raw for one in questions.values() for raw in one.raws))

    def answered(self, peer: str, digest: bytes, raws: Sequence[bytes]) -> None:
        """A peer answered; nothing: it has no answer."""
        question = self._open.get(digest)
        if question is not None:
            question.waits.discard(peer)
            question.raws.update(dict.fromkeys(raws))
            question.moved.set()

    def left(self, peer: str) -> None:
        """A peer is gone: nobody waits for it."""
        for question in self._open.values():
            question.waits.discard(peer)
            question.moved.set()

    def _send(self, questions: dict[bytes, _Question], talks: Sequence[Talk]) -> None:
        for talk in talks:
            peer = talk.session.peer
            new = [digest for digest, one in questions.items() if peer not in one.waits]
            for digest in new:
                questions[digest].waits.add(peer)
            talk.session.ask(new)
            talk.poke()

    async def _settled(self, question: _Question) -> None:
        while question.waits and len(question.raws) < self._enough:
            question.moved.clear()
            await question.moved.wait()
