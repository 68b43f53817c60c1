"""POST /summarize beside other servers of the same model; see ../README.md."""
