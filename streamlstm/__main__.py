"""`python -m streamlstm` is the command `streamlstm`."""

from .cli import main

if __name__ == "__main__":
    main()
