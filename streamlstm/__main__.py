"""`python -m streamlstm` is the command `streamlstm`."""

from .cli import app

if __name__ == "__main__":
    app(prog_name="streamlstm")
