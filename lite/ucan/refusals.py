"""Why a token gives no right: one error for each reason.

    AuthorityError
    └── Refusal              ucan-refused            name on the wire
        ├── MalformedToken   ucan-malformed          ParseError        not the form of the spec
        │   ├── InvalidCommand  ucan-command-invalid ParseError        e.g. `//` in a command
        │   ├── InvalidTime     ucan-time-invalid    ParseError        e.g. exp beyond 2^53
        │   ├── InvalidPolicy   ucan-policy-invalid  ParseError        not a policy
        │   │   └── PolicyTooLarge ucan-policy-too-large ParseError    statements, levels or bytes
        │   ├── TokenTooLarge   ucan-token-too-large ParseError        over 16 KiB
        │   ├── TooManyItems    ucan-items-too-many  ParseError        values in it, or in all
        │   ├── UnknownTag      ucan-unknown-tag     ParseError        of another version
        │   ├── MissingField    ucan-field-missing   ParseError        a field that must be there
        │   ├── InvalidField    ucan-field-invalid   ParseError        a field of another type
        │   ├── TooDeep         ucan-too-deep        ParseError        nested over 256 levels
        │   ├── KeysUnsorted    ucan-keys-unsorted   ParseError        a map in another order
        │   ├── KeyTwice        ucan-key-twice       ParseError        a key twice in a map
        │   ├── NotShortest     ucan-not-shortest    ParseError        a number in too many bytes
        │   ├── ContainerTooLarge ucan-container-too-large ParseError  over 4 MiB; 1 MiB, unpacked
        │   └── TooManyTokens   ucan-tokens-too-many ParseError        over 4,096 in a container
        ├── InvalidSignature ucan-signature          InvalidSignature  not signed by its issuer
        │   ├── SignatureVersion   ucan-signature-version   InvalidSignature  no varsig 1 header
        │   ├── SignatureAlgorithm ucan-signature-algorithm InvalidSignature  none of the known ones
        │   ├── SignatureKey       ucan-signature-key       InvalidSignature  not that of the issuer
        │   └── IssuerUnknown      ucan-issuer-unknown      InvalidSignature  no key in the DID
        ├── WrongExecutor    ucan-executor           InvalidAudience   addressed to another node
        ├── ForeignSubject   ucan-subject-foreign    InvalidSubject    about somebody else
        ├── Expired          ucan-expired            Expired
        ├── TooEarly         ucan-too-early          TooEarly
        ├── TooManyProofs    ucan-proofs-too-many    InvalidClaim      more than this node follows
        ├── UnavailableProof ucan-proof-missing      UnavailableProof  a proof is not at hand
        ├── WrongProof       ucan-proof-hash         InvalidSignature  bytes of another CID
        ├── PowerlineRoot    ucan-powerline-root     InvalidClaim      sub null at the root
        ├── InvalidSubject   ucan-subject            InvalidSubject    a proof about another subject
        ├── InvalidAudience  ucan-audience           InvalidAudience   a gap in the chain
        │   └── WrongInvoker ucan-invoker            InvalidAudience   the chain ends at another
        ├── NoProofs         ucan-no-proofs          InvalidClaim      invoked by a stranger
        ├── CommandNotCovered ucan-command           InvalidClaim      a proof for another command
        ├── PolicyNotMet     ucan-policy             MatchError        arguments against a policy
        ├── PolicyTooCostly  ucan-policy-steps       MatchError        too many steps to decide
        ├── Revoked          ucan-revoked            Revoked
        ├── Replayed         ucan-replayed           Replayed          accepted once already
        │   └── InDoubt      ucan-in-doubt           Replayed          and perhaps done, perhaps not
        └── ClockWrong       ucan-clock              Unauthorized      the clock here is behind

The names on the wire are those of the fixtures of the UCAN 1.0 spec and, where it has none, of
ucantone. The exit status of all is 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from lite.errors import AuthorityError
from lite.ipld.cid import CID

Refused = TypeVar("Refused", bound="Refusal")


class Refusal(AuthorityError):
    """A token that gives no right. `str(e)` is one line: which token, what is wrong, which value.

    Attributes:
        step: of the procedure in `lite.ucan.proofs`, e.g. "7d"; empty outside of it.
        token: the CID of the refused token, when it is known.
        position: of the proof in the chain, the root is 0; None for the invocation itself.
        details: plain IPLD values for programs, e.g. `{"expires_at": …, "now": …}`.
    """

    code = "ucan-refused"
    wire_name: ClassVar[str] = "Unauthorized"

    def __init__(
        self,
        message: str,
        *,
        step: str = "",
        token: CID | None = None,
        position: int | None = None,
        details: Mapping[str, Any] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.token = token
        self.position = position
        self.details = dict(details or {})

    def at(
        self: Refused, where: str, step: str, token: CID | None, position: int | None
    ) -> Refused:
        """The same refusal with its place in the procedure: `where` before the message, the step
        behind it."""
        return type(self)(
            f"{where}: {self} (step {step})",
            step=step,
            token=token,
            position=position,
            details=self.details,
            hint=self.hint,
        )

    def unplaced(self: Refused, step: str) -> Refused:
        """The same refusal of what no token was seen in yet, with the step behind it."""
        return type(self)(f"{self} (step {step})", step=step, details=self.details, hint=self.hint)

    def before(self: Refused, text: str) -> Refused:
        """The same refusal as the reason for something: that comes first."""
        return type(self)(
            f"{text}: {self}",
            step=self.step,
            token=self.token,
            position=self.position,
            details=self.details,
            hint=self.hint,
        )

    def place(self) -> dict[str, Any]:
        """The step of the check, the number of the proof from 1 (None: the token itself), the CID
        of the token and the details."""
        return {
            "step": self.step or None,
            "proof": None if self.position is None else self.position + 1,
            "token": None if self.token is None else str(self.token),
            "details": self.details,
        }

    def value(self) -> dict[str, Any]:
        """What goes into `out.error` of a receipt."""
        return {"name": self.wire_name, "message": str(self)}


class MalformedToken(Refusal):
    code = "ucan-malformed"
    wire_name = "ParseError"


class InvalidCommand(MalformedToken):
    code = "ucan-command-invalid"


class InvalidTime(MalformedToken):
    code = "ucan-time-invalid"


class InvalidPolicy(MalformedToken):
    code = "ucan-policy-invalid"


class PolicyTooLarge(InvalidPolicy):
    code = "ucan-policy-too-large"


class TokenTooLarge(MalformedToken):
    code = "ucan-token-too-large"


class TooManyItems(MalformedToken):
    code = "ucan-items-too-many"


class UnknownTag(MalformedToken):
    code = "ucan-unknown-tag"


class MissingField(MalformedToken):
    code = "ucan-field-missing"


class InvalidField(MalformedToken):
    code = "ucan-field-invalid"


class TooDeep(MalformedToken):
    code = "ucan-too-deep"


class KeysUnsorted(MalformedToken):
    code = "ucan-keys-unsorted"


class KeyTwice(MalformedToken):
    code = "ucan-key-twice"


class NotShortest(MalformedToken):
    code = "ucan-not-shortest"


class ContainerTooLarge(MalformedToken):
    code = "ucan-container-too-large"


class TooManyTokens(MalformedToken):
    code = "ucan-tokens-too-many"


class InvalidSignature(Refusal):
    code = "ucan-signature"
    wire_name = "InvalidSignature"


class SignatureVersion(InvalidSignature):
    code = "ucan-signature-version"


class SignatureAlgorithm(InvalidSignature):
    code = "ucan-signature-algorithm"


class SignatureKey(InvalidSignature):
    code = "ucan-signature-key"


class IssuerUnknown(InvalidSignature):
    code = "ucan-issuer-unknown"


class WrongExecutor(Refusal):
    code = "ucan-executor"
    wire_name = "InvalidAudience"


class ForeignSubject(Refusal):
    code = "ucan-subject-foreign"
    wire_name = "InvalidSubject"


class Expired(Refusal):
    code = "ucan-expired"
    wire_name = "Expired"


class TooEarly(Refusal):
    code = "ucan-too-early"
    wire_name = "TooEarly"


class TooManyProofs(Refusal):
    code = "ucan-proofs-too-many"
    wire_name = "InvalidClaim"


class UnavailableProof(Refusal):
    code = "ucan-proof-missing"
    wire_name = "UnavailableProof"


class WrongProof(Refusal):
    code = "ucan-proof-hash"
    wire_name = "InvalidSignature"


class PowerlineRoot(Refusal):
    code = "ucan-powerline-root"
    wire_name = "InvalidClaim"


class InvalidSubject(Refusal):
    code = "ucan-subject"
    wire_name = "InvalidSubject"


class InvalidAudience(Refusal):
    code = "ucan-audience"
    wire_name = "InvalidAudience"


class WrongInvoker(InvalidAudience):
    code = "ucan-invoker"


class NoProofs(Refusal):
    code = "ucan-no-proofs"
    wire_name = "InvalidClaim"


class CommandNotCovered(Refusal):
    code = "ucan-command"
    wire_name = "InvalidClaim"


class PolicyNotMet(Refusal):
    code = "ucan-policy"
    wire_name = "MatchError"


class PolicyTooCostly(Refusal):
    code = "ucan-policy-steps"
    wire_name = "MatchError"


class Revoked(Refusal):
    code = "ucan-revoked"
    wire_name = "Revoked"


class Replayed(Refusal):
    code = "ucan-replayed"
    wire_name = "Replayed"


class InDoubt(Replayed):
    code = "ucan-in-doubt"


class ClockWrong(Refusal):
    code = "ucan-clock"
