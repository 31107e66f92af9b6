"""The Python side of rgunicorn: what runs inside forkserver and workers, where user code runs too."""
