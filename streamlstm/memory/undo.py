"""An undo log: what the pages of a memory's table and history contained before they changed.

It makes snapshots cheap. A page is PAGE words. Before a kernel may change a page for the first time in an epoch, it
appends a copy of the page to the log. To undo the epoch, all copies are written back. The log is as long as the worst
case needs, but memory is only committed when it is written.

undo  int32 [0] if nothing is logged, or [MARKS + (1 + RECORD) · pages]
    N_RECORDS      number of records
    EPOCH          number of the epoch, from 1 on
    FIRST_RECORD   index of the first record
    MARKS          [pages]: the last epoch in which each page was logged
    then the records, of RECORD words: the number of the page, and the words that it contained

The pages of the table are numbered first, then those of the history.
"""

import numpy as np

from ..jit.decorators import kernel
from ..kernels.arrays import I32, PAGE

RECORD = 1 + PAGE
N_RECORDS, EPOCH, FIRST_RECORD, MARKS = range(4)

NO_UNDO = np.zeros(0, dtype=np.int32)


@kernel
def log_page(undo, page, array, at):
    """Append a page to the log, unless this epoch has logged it: the page of that number, which begins at array[at]."""
    if undo[MARKS + page] != undo[EPOCH]:
        undo[MARKS + page] = undo[EPOCH]
        record = undo[FIRST_RECORD] + undo[N_RECORDS] * RECORD
        undo[record] = page
        for j in range(PAGE):
            undo[record + 1 + j] = array[at + j]
        undo[N_RECORDS] += 1


class UndoLog:
    """The undo log of the memory of one predictor; it is dropped with this object.

    n_pages  how many pages can change; 0 for a predictor without a memory
    """

    def __init__(self, n_pages: int) -> None:
        self.array = np.zeros(MARKS + (1 + RECORD) * n_pages, dtype=np.int32)
        self.array[:MARKS] = 0, 1, MARKS + n_pages

    @property
    def epoch(self) -> int:
        """The number of the epoch whose changes are logged."""
        return self.array.item(EPOCH)

    def start(self, epoch: int) -> None:
        """Begin an epoch: from now on the log leads back to this moment. One assignment, which no interrupt divides."""
        self.array[: EPOCH + 1] = 0, epoch


def write_back(undo: I32, table: I32, history: I32) -> None:
    """Undo all logged changes. May be repeated after an interrupt."""
    first, n_table_pages = undo.item(FIRST_RECORD), len(table) // PAGE
    records = undo[first : first + undo.item(N_RECORDS) * RECORD].reshape(-1, RECORD)
    pages = records[:, 0]
    in_table = pages < n_table_pages
    for array, rows, first_page in ((table, in_table, 0), (history, ~in_table, n_table_pages)):
        array.reshape(-1, PAGE)[pages[rows] - first_page] = records[rows, 1:]
    undo[MARKS + pages] = 0
    undo[N_RECORDS] = 0
