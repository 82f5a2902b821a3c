"""Which failures fail a run, as it is defined, word by word and slowly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

VALUE = ("done", "cached")


class PlainFailures:
    """All is told by label.

    Args:
        states: of the steps. twins: the earlier step with the same instruction.
        edges: for each step, whom it awaits by which branch.
        codes: error codes of those that failed.
    """

    def __init__(
        self,
        states: Mapping[str, str],
        edges: Mapping[str, Sequence[tuple[str, str]]],
        twins: Mapping[str, str],
        codes: Mapping[str, str],
    ) -> None:
        self._states = states
        self._edges = edges
        self._twins = twins
        self._codes = codes

    def all(self) -> dict[str, str]:
        """What becomes of each step that failed."""
        failed = [label for label, state in self._states.items() if state == "failed"]
        return {label: self._one(self._twins.get(label, label)) for label in failed}

    def _one(self, label: str) -> str:
        if self._is_not_taken(label):
            return "not-taken"
        return "handled" if self._is_handled(label) else "open"

    def _is_mismatch(self, label: str) -> bool:
        return self._codes.get(label) == "branch-mismatch"

    def _is_not_taken(self, label: str) -> bool:
        """It awaits the error of one that succeeded, or one not taken, and lacks no other."""
        if self._states[label] != "failed" or not self._is_mismatch(label):
            return False
        lacks = [
            needed
            for needed, branch in self._edges[label]
            if branch == "ok" and self._states[needed] == "failed"
        ]
        unwanted = [
            needed
            for needed, branch in self._edges[label]
            if branch == "error" and self._states[needed] in VALUE
        ]
        return bool(lacks or unwanted) and all(self._is_not_taken(needed) for needed in lacks)

    def _is_handled(self, label: str) -> bool:
        """Somebody made a value of the error; or all whose failure it became are handled."""
        heirs = []
        for other, edges in self._edges.items():
            for needed, branch in edges:
                if needed != label:
                    continue
                if branch != "ok" and self._states[other] in VALUE:
                    return True
                if self._states[other] != "failed" or self._is_not_taken(other):
                    continue
                if (branch == "ok") == self._is_mismatch(other):
                    heirs.append(other)
        return bool(heirs) and all(self._is_handled(heir) for heir in heirs)
