"""What one side wants of a session, and the bounds that hold in every session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sync.base import ALL_LANES
from sync.messages import FRAME_BYTES_MAX, NO_LIMIT

CURSOR_GAP_MAX: Final = 64  # rows of a log up to which a cursor is used
STRIKES_MAX: Final = 3
HELLO_S_MAX: Final = 10.0
OFFER_DELAY_S: Final = 0.05  # new items that come within it go into one offer
STORE_DELAY_S: Final = 0.05  # items that come within it go into one transaction
CLAIMS_POLL_S: Final = 1.0
CONTROL_BYTES_MAX: Final = 8 * 1024 * 1024  # frames that bring no items, in a burst
CONTROL_BYTES_PER_S: Final = 64 * 1024
CONTROL_CREDIT: Final = 1_024  # bytes that each stored item makes up for
FRAME_COST: Final = 512  # a frame counts as so many bytes more
ASK_COST: Final = 256  # and each question in it
WANT_CREDIT: Final = 64  # bytes that each wanted item makes up for
RETRY_S: Final = 60
BLAME_RETRY_S: Final = 3_600


@dataclass(frozen=True, slots=True)
class Rules:
    """What this side wants of a session.

    Attributes:
        budget: bytes of items to take by itself; 0: only what `fetch` names.
        give_budget: bytes of items and blocks to send.
        lanes: a bit for each lane to take.
        audit: compare the sets even if the cursors would do. Once a day is enough.
        frame_max: bytes of a frame to read.
        features, hints: sent with the hello.
    """

    budget: int = NO_LIMIT
    give_budget: int = NO_LIMIT
    lanes: int = ALL_LANES
    audit: bool = False
    frame_max: int = FRAME_BYTES_MAX
    features: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
