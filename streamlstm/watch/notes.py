"""Which occurrences of an event that repeats itself are worth a note to the user."""


def is_noted(n: int) -> bool:
    """Whether there is a note for the nth occurrence, n being at least 1: for the 1st, 2nd, 4th, 8th, …

    >>> [n for n in range(1, 20) if is_noted(n)]
    [1, 2, 4, 8, 16]
    """
    return n & (n - 1) == 0
