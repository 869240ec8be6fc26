"""A ladder whose coarse levels decide where finer ones exist: read `ladder.py` first."""
