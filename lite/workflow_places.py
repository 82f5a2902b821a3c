"""Where the steps of a workflow can run: on this node, or on which of those that are known here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.scheduler.rules import Place

if TYPE_CHECKING:
    from lite.needs.capabilities import Capabilities
    from lite.needs.fit import Fit, Reason, Whereabouts
    from lite.needs.requirements import Requirements

SECRET: Final = "it is secret, so no other node is asked"
UNKNOWN_YET: Final = "no other node is asked before that is known"
HOMESTARS: Final = "no other node is asked under Homestar's rules"
OFFLINE: Final = "no other node is asked with --offline"
Size = Callable[[CID], int | None]
"""Bytes of all that is at a CID; None: not known here."""

__all__ = ["Asked", "Known", "Places", "nobody"]


@frozen
class Asked:
    """A step as another node would be asked for it; `limits` are those that it has here."""

    instruction: Instruction
    needs: Requirements
    limits: Limits


class Known:
    """What is known of other nodes; of this one none is. Asked when it first matters."""

    def capabilities(self) -> Mapping[str, Capabilities]:
        """What they say that they have, by DID."""
        return {}

    def claims(self, asked: Asked) -> Mapping[str, Capabilities]:
        """What those that this node may ask for a step could say then that they have, by DID; they
        may be among those who have said something."""
        del asked
        return {}

    def refusal(self, did: str, asked: Asked) -> str:
        """Why this node does not ask one of them for a step; empty: it does."""
        del did, asked
        return ""

    def had(self, lacking: Collection[CID]) -> Collection[str]:
        """The DIDs of those of whom something here shows that they had all of that."""
        del lacking
        return ()


nobody = Known()
_ALSO_THERE: Final = ("input", "module")  # what another node may lack as well


class Places:
    """Judges the steps of one workflow. One that nothing keeps from running here, and that declares
    nothing, costs nothing.

    Args:
        place: of this node, as its runs have it.
        defaults: of the workflow, for the limits of steps that name none.
        size: of what is here.
        stays: why nobody else is asked for any of its steps, and they run here whatever they
            declare; empty: others are asked.
    """

    def __init__(
        self,
        place: Place,
        known: Known,
        size: Size,
        defaults: Mapping[str, Any] | None = None,
        stays: str = "",
    ) -> None:
        self._place = place
        self._others = known
        self._size = lru_cache(None)(size)
        self._defaults = defaults
        self._stays = stays
        self._known: Mapping[str, Capabilities] | None = None

    def of(
        self,
        instruction: Instruction,
        meta: Mapping[str, Any],
        limits: Limits,
        obstacles: Sequence[Reason] = (),
        *,
        secret: bool = False,
    ) -> Whereabouts | None:
        """Where a step can run; None: here, and there is nothing to say of it.

        Args:
            limits: that it has here.
            obstacles: what keeps it from running here beside what this machine has
                (`Outlook.obstacles`).
            secret: no other node is asked, unless it is one that holds a key which is named.

        Raises:
            FieldError: what it declares is wrong.
        """
        plain = self._stays or self._is_plain(instruction, meta, limits)
        if plain and not obstacles:
            return None
        from lite.needs.fit import Fit, Whereabouts, stays

        here = self._place.here()
        needs = here.needs_of(instruction, meta, self._defaults)
        lacks = () if plain else here.fit(needs).reasons  # else what this machine has is the same
        own = Fit((*lacks, *(one for one in obstacles if one not in lacks)))
        if self._stays or stays(needs, secret=secret):
            return Whereabouts(own, kept=self._stays or SECRET)
        if "network" in own.codes or set(own.codes) == {"await"}:
            return Whereabouts(own, kept=OFFLINE if "network" in own.codes else UNKNOWN_YET)
        return self._among_others(own, Asked(instruction, needs, limits))

    def _is_plain(self, instruction: Instruction, meta: Mapping[str, Any], limits: Limits) -> bool:
        """Whether a step runs here whatever this machine has."""
        module, most = instruction.module, self._place.module_bytes
        if module is not None and most is not None and not instruction.module_path:
            size = self._size(module)
            if size is not None and size > most:
                return False
        return self._place.is_plain(meta, limits)

    def _among_others(self, own: Fit, asked: Asked) -> Whereabouts:
        from lite.needs.fit import Whereabouts, elsewhere, lacks_op

        if self._known is None:
            self._known = self._others.capabilities()
        sure, perhaps = elsewhere(asked.needs, self._known)
        claims = self._others.claims(asked)
        silent = {did: has for did, has in claims.items() if did not in self._known}
        able = [did for some in elsewhere(asked.needs, silent) for did in some]
        perhaps = tuple(sorted([*perhaps, *able]))
        by_record = lacks_op(asked.instruction.op) in own.reasons
        if not set(own.codes).isdisjoint(_ALSO_THERE if by_record else (*_ALSO_THERE, "op")):
            sure, perhaps = (), tuple(sorted({*sure, *perhaps}))
        refusals = {did: self._others.refusal(did, asked) for did in sorted({*sure, *perhaps})}
        perhaps = tuple(did for did in perhaps if not refusals[did])
        had = frozenset(self._had(asked) if perhaps else ())
        return Whereabouts(
            own,
            tuple(did for did in sure if not refusals[did]),
            tuple(sorted(perhaps, key=lambda did: did not in had)),
            tuple(did for did in perhaps if did in had),
            tuple((did, why) for did, why in refusals.items() if why),
        )

    def _had(self, asked: Asked) -> Collection[str]:
        lacking = [cid for cid, size in asked.needs.inputs if size is None]
        return self._others.had(lacking) if lacking else ()
