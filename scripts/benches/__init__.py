"""One module for each subcommand of ``bench.py``; ``measure.py`` says what they share."""
