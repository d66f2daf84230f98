"""How strict an untrained detector must be to find about as many mentions as a trained one."""

from collections.abc import Callable

HALVINGS = 8


def strictness(found: Callable[[float], int], wanted: int, low: float, high: float) -> float:
    """A value between ``low`` and ``high`` at which ``found`` is near ``wanted``, by bisection.

    Args:
        found: the number of mentions at a value; falls as that rises. wanted: of mentions; where ``low`` finds fewer, or ``high`` more, the
            nearest value is that end.
    """
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if found(middle) > wanted:
            low = middle
        else:
            high = middle
    return high
