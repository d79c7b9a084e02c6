"""Which request may be sent again after which failure: the one table that all retries keep to."""

from .call import Resend
from .classify import Verdict

__all__ = ["may_resend"]


def may_resend(verdict: Verdict, resend: Resend) -> bool:
    """Whether a request that came to `verdict` may be sent again.

    | the failure                                  | SAFE | KEYED | UNSAFE | ONE_SHOT |
    |----------------------------------------------|------|-------|--------|----------|
    | request never left (connect, pool)           | yes  | yes   | yes    | no       |
    | 408, 429, 502, 503, 504, timeout, broken off | yes  | yes   | no     | no       |
    | 500                                          | yes  | no    | no     | no       |
    | anything else                                | no   | no    | no     | no       |

    SAFE are the idempotent methods of RFC 9110, 9.2.2. ONE_TIME is as UNSAFE, THEIRS as ONE_SHOT.
    """
    if not verdict.transient or resend is Resend.ONE_SHOT or resend is Resend.THEIRS:
        return False
    if verdict.never_left or resend is Resend.SAFE:
        return True
    return resend is Resend.KEYED and not verdict.safe_only
