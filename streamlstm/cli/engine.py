"""The option --engine of `score` and `watch`."""

from typing import Any


def check_engine(engine: str | None, others: dict[str, Any]) -> bool:
    """Whether an engine is given.

    others  the options that need an engine, by name; None if they are not given

    Raises ValueError for an engine that is not known, and for such options without one.
    """
    if engine is None:
        for option, value in others.items():
            if value is not None:
                raise ValueError(f"{option} is for an engine; add --engine ray")
        return False
    if engine != "ray":
        raise ValueError(f"--engine must be ray, not {engine!r}")
    workers = others["--workers"]
    if workers is not None and workers < 1:
        raise ValueError(f"--workers must be at least 1, not {workers}")
    return True
