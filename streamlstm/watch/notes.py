"""When something that happens again and again is told: the 1st, 2nd, 4th, 8th, … time."""


def is_power_of_2(n: int) -> bool:
    """Whether the nth time is told, n being at least 1.

    >>> [n for n in range(1, 20) if is_power_of_2(n)]
    [1, 2, 4, 8, 16]
    """
    return n & (n - 1) == 0
