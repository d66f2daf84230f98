"""How strict an untrained detector must be to find about as many mentions as a trained one."""

from collections.abc import Callable

HALVINGS = 20  # at most: an untrained detector's scores hardly differ
NEAR = 0.1  # the share of the wanted mentions that may be missing, or too many


def strictness(found: Callable[[float], int], wanted: int, low: float, high: float) -> float:
    """A value between ``low`` and ``high`` at which ``found`` is near ``wanted``, by bisection.

    Args:
        found: the number of mentions at a value; falls as that rises. wanted: of mentions; where ``low`` finds fewer, or ``high`` more, the
            nearest value is that end.
    """
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        n_found = found(middle)
        if abs(n_found - wanted) <= NEAR * wanted:
            return middle
        low, high = (middle, high) if n_found > wanted else (low, middle)
    return (low + high) / 2
