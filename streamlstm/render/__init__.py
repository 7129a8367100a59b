"""How results are shown: tables, heat maps, pages, progress bars."""
