"""Where the steps of a workflow can run: on this node, or on which of those that are known here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lite.frozen import frozen
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.requires import declares
from lite.scheduler.rules import Place

if TYPE_CHECKING:
    from lite.needs.capabilities import Capabilities
    from lite.needs.fit import Fit, Whereabouts
    from lite.needs.requirements import Requirements

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
        """Why this node may not ask one of them for a step; empty: it may."""
        del did, asked
        return ""


nobody = Known()


class Places:
    """Judges the steps of one workflow. One that declares nothing and whose operation is known
    costs nothing.

    Args:
        place: of this node, as its runs have it.
        defaults: of the workflow, for the limits of steps that name none.
    """

    def __init__(
        self, place: Place, known: Known, defaults: Mapping[str, Any] | None = None
    ) -> None:
        self._place = place
        self._others = known
        self._defaults = defaults
        self._known: Mapping[str, Capabilities] | None = None

    def of(
        self,
        instruction: Instruction,
        meta: Mapping[str, Any],
        limits: Limits,
        *,
        has_op: bool,
        secret: bool = False,
    ) -> Whereabouts | None:
        """Where a step can run; None: here, as far as there is anything to say.

        Args:
            limits: that it has here.
            has_op: its operation is known here.
            secret: no other node is asked, unless it is one that holds a key which is named.

        Raises:
            FieldError: what it declares is wrong.
        """
        cap = self._place.fuel_cap
        plain = not declares(meta) and (cap is None or limits.fuel <= cap)
        if plain and has_op:
            return None
        from lite.needs.fit import Fit, Reason, Whereabouts

        here = self._place.here()
        needs = here.needs_of(instruction, meta, self._defaults)
        if plain:  # what this machine has makes no difference
            told = f"needs the operation {instruction.op}; this node does not run it"
            own = Fit((Reason("op", told),))
        else:
            own = here.fit(needs)
        if secret and not needs.key:
            return Whereabouts(own, stays=True)
        return self._among_others(own, Asked(instruction, needs, limits))

    def _among_others(self, own: Fit, asked: Asked) -> Whereabouts:
        from lite.needs.fit import Whereabouts, elsewhere

        if self._known is None:
            self._known = self._others.capabilities()
        sure, perhaps = elsewhere(asked.needs, self._known)
        claims = self._others.claims(asked)
        silent = {did: has for did, has in claims.items() if did not in self._known}
        able = [did for some in elsewhere(asked.needs, silent) for did in some]
        perhaps = tuple(sorted([*perhaps, *able]))
        refusals = {did: self._others.refusal(did, asked) for did in sorted({*sure, *perhaps})}
        return Whereabouts(
            own,
            tuple(did for did in sure if not refusals[did]),
            tuple(did for did in perhaps if not refusals[did]),
            tuple((did, why) for did, why in refusals.items() if why),
        )
