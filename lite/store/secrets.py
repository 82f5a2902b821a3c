"""Secret blocks and receipts: they stay on this node unless its owner asks for them to leave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from lite.errors import AuthorityError
from lite.ipld.cid import CID, DAG_PB
from lite.model.instruction import Instruction
from lite.model.workflow import Workflow
from lite.store import sql_runs
from lite.store.aliases import canonical
from lite.store.database import Database, Transaction
from lite.store.reach import links_below, through
from lite.store.uses import using

if TYPE_CHECKING:
    from lite.store.secret_contents import SecretContents

__all__ = ["Secrets", "pieces"]

_AT_ONCE = 500  # CIDs in one query
_SHOWN = 4


class Secrets:
    """Which blocks and receipts of a store are secret."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._contents: SecretContents | None = None

    def mark(self, cids: Iterable[CID]) -> None:
        """Make blocks and receipts secret from now on, also those that are not here; the pieces of
        a file or folder with it. Durable when it returns.

        Whoever shares a piece with a secret file has that piece secret as well.
        """
        marked = pieces(self._database, cids)
        if not marked:
            return
        with self._database.write() as transaction:
            self.write_marks(transaction, marked)

    def write_marks(self, transaction: Transaction, cids: Iterable[CID]) -> None:
        """Mark exactly these, inside somebody else's transaction."""
        transaction.executemany(sql_runs.SECRET_ADD, [(cid.raw,) for cid in cids])

    def with_pieces(self, cids: Iterable[CID]) -> list[CID]:
        """These, and the pieces of those that are files or folders here."""
        return pieces(self._database, cids)

    def unmark(self, cids: Iterable[CID]) -> None:
        """Let exactly these leave again."""
        with self._database.write() as transaction:
            transaction.executemany(sql_runs.SECRET_DELETE, [(cid.raw,) for cid in cids])

    def is_secret(self, cid: CID) -> bool:
        """Whether it has to stay."""
        return self._database.row(sql_runs.SECRET, (cid.raw,)) is not None

    def any_secret(self, cids: Iterable[CID]) -> set[CID]:
        """Those of them that have to stay: one query for 500."""
        given = iter(cids)
        found: set[CID] = set()
        while some := {cid.raw: cid for cid in islice(given, _AT_ONCE)}:
            query = sql_runs.SECRETS_AMONG.format(",".join("?" * len(some)))
            found.update(some[raw] for (raw,) in self._database.rows(query, tuple(some)))
        return found

    def holds_any(self, workflow: Workflow) -> bool:
        """Whether the block of a workflow holds an instruction that has to stay, or the content of
        a small secret file anywhere else."""
        if self.is_empty():
            return False
        return self.holds_content(workflow.data) or bool(
            self.instructions_among(step.instruction for step in workflow)
        )

    def holds_content(self, data: bytes) -> bool:
        """Whether the bytes of an instruction, a workflow, a value or a receipt hold the content of
        a small secret file, which stands in them without any link."""
        if self.is_empty():
            return False
        if self._contents is None:
            from lite.store.secret_contents import SecretContents

            self._contents = SecretContents(self._database)
        return self._contents.are_in(data)

    def instructions_among(self, instructions: Iterable[Instruction]) -> set[CID]:
        """Those of them that have to stay by themselves, whether they are here or not: marked, or
        with the content of a small secret file in them."""
        if self.is_empty():
            return set()
        given = {instruction.cid: instruction for instruction in instructions}
        found = self.any_secret(given)
        return found | {
            cid for cid in given if cid not in found and self.holds_content(given[cid].data)
        }

    def is_empty(self) -> bool:
        """Whether nothing at all is secret, so that nobody has to ask about single ones."""
        return self._database.row(sql_runs.SECRETS_ANY) is None

    def refuse(self, cids: Iterable[CID], doing: str) -> None:
        """Stop what would let secrets out.

        Args:
            doing: what would, for the message: "the export".

        Raises:
            AuthorityError: some of them are secret; it names them.
        """
        kept = sorted(self.any_secret(cids), key=str)
        if not kept:
            return
        names = ", ".join(map(str, kept[:_SHOWN]))
        more = f" and {len(kept) - _SHOWN} more" if len(kept) > _SHOWN else ""
        raise AuthorityError(
            f"{doing} would let out what was marked secret: {names}{more}",
            hint="Ask for it with --with-secrets if whoever gets it may know.",
        )

    def refuse_reading(self, instruction: Instruction, customer: str = "") -> None:
        """Stop an instruction of somebody else that would read what is secret, at any depth, or
        whose answer is.

        Args:
            customer: what this one entrusted to this node may be read for it; and that another one
                asked for the same says nothing of it.

        Raises:
            AuthorityError: it would. The message names only what the instruction names itself.
        """
        if self.is_empty():
            return
        roots = list(instruction.links())
        if instruction.nnc or not self.is_entrusted(instruction.cid):
            roots.append(instruction.cid)
        roots += [canonical(self._database, wait.instruction) for wait in instruction.awaits()]
        if instruction.module is not None:
            roots.append(instruction.module)
        root = self.leading_to(roots, customer)
        if root is not None:
            raise AuthorityError(
                f"{root} is not here for others, or leads to something that is not",
                hint="Ask the owner of this node for it.",
            )

    def own_inputs(self, instructions: Iterable[Instruction]) -> list[CID]:
        """What secret instructions link to, but for what others use that are not secret."""
        given = list(instructions)
        own = {instruction.cid for instruction in given}
        found: dict[CID, None] = {}
        for cid in through(cid for instruction in given for cid in instruction.links()):
            users = set(using(self._database, cid)) - own
            if users <= self.any_secret(users):
                found[cid] = None
        return list(found)

    def leading_to(self, roots: Iterable[CID], customer: str = "") -> CID | None:
        """The first of the roots that is secret or has something secret below it, or None; what a
        customer entrusted to this node does not count as secret to that one."""
        for root in roots:
            found = self.any_secret(self._below([root]))
            if found - (self.entrusted_by(customer, found) if customer else set()):
                return root
        return None

    def is_entrusted(self, cid: CID) -> bool:
        """Whether it is the secret of a customer."""
        return self._database.row(sql_runs.ENTRUSTED, (cid.raw,)) is not None

    def entrusted_by(self, customer: str, cids: Iterable[CID]) -> set[CID]:
        """Those of them that are secrets of this customer."""
        given, found = iter(cids), set[CID]()
        while some := {cid.raw: cid for cid in islice(given, _AT_ONCE)}:
            query = sql_runs.ENTRUSTED_AMONG.format(",".join("?" * len(some)))
            found.update(some[raw] for (raw,) in self._database.rows(query, (customer, *some)))
        return found

    def any_below(self, roots: Iterable[CID]) -> bool:
        """Whether one of the roots is secret or has something secret below it."""
        return bool(self.any_secret(self._below(roots)))

    def _below(self, roots: Iterable[CID]) -> Iterator[CID]:
        """Blocks and everything below them, as far as it is here or in a CID, each once."""
        todo = list(dict.fromkeys(roots))
        seen = set(todo)
        while todo:
            cid = todo.pop()
            yield cid
            new = dict.fromkeys(links_below(self._database, cid))
            fresh = [link for link in new if link not in seen]
            seen.update(fresh)
            todo.extend(fresh)

    def count(self) -> int:
        """How many CIDs are marked."""
        return self._database.number(sql_runs.SECRETS_COUNT)


def pieces(database: Database, cids: Iterable[CID]) -> list[CID]:
    """These, each once, and the pieces of those that are files or folders, as far as they are
    here: what is marked with them."""
    todo, found = list(cids), dict[CID, None]()
    while todo:
        cid = todo.pop()
        if cid in found:
            continue
        found[cid] = None
        if cid.codec == DAG_PB:
            todo.extend(links_below(database, cid))
    return list(found)
