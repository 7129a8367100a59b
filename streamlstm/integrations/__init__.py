"""streamlstm inside other tools: one module per tool, each imported only by those who use it."""
