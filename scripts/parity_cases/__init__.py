"""One module for each part of the product that golden sets cover; ``golden.py`` says what they share."""
