"""Write model files of format 1, by a development version of 0.2, as those of version 1.0: same arrays, same values.

    python tests/compat/upgrade.py MODEL…

A file of 0.1 lacks values that 1.0 needs, and stays as it is. For the weights that were trained while 1.0 was prepared.
"""

import sys

from streamlstm import checkpoint

if __name__ == "__main__":
    checkpoint.OLDEST = 1
    for path in sys.argv[1:]:
        arrays, values = checkpoint.read_checkpoint(path)
        if "learn" in values or "plan" in values:
            checkpoint.write_checkpoint(path, arrays, values)
