"""POST /audio beside other services in front of the same speech cloud, and its memory; see ../README.md."""
