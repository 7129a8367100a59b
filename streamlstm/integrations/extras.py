"""What to install for a tool that is not there."""


def missing_extra(error: ModuleNotFoundError, extra: str) -> ModuleNotFoundError:
    """An error that says in one line which extra brings the module that is missing.

    >>> missing_extra(ModuleNotFoundError("No module named 'river'", name="river"), "river")
    ModuleNotFoundError("river is not installed; install it with: pip install 'streamlstm[river]'")
    """
    install = f"install it with: pip install 'streamlstm[{extra}]'"
    name = (error.name or extra).partition(".")[0]
    return ModuleNotFoundError(f"{name} is not installed; {install}", name=name)
