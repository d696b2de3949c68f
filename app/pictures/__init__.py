"""Turn any picture of digits into what MNIST is made of: 28x28, white ink on black, sized and centred.

`opening.py` opens the file, `sheet.py` leaves out the desk, `ink.py` tells ink from paper, `lines.py`,
`cell.py` and `rungs.py` remove printed lines, `tiles.py` and `outlined.py` make strokes of what is painted in
squares or drawn in outline. `pieces.py` measures the pieces of ink, `boxes.py` and `clutter.py` tell which
are no digits, and `layout.py` sorts the rest into digits; `judge.py` says how much they look like writing.
`shade.py`, `tones.py`, `hues.py` and `whole.py` know shadows, ink in two tones, lines in another colour, and
digits cut out along their edges; `search.py` leads through these in the ways that a picture asks for, and
`found.py` holds what it finds. `parting.py` parts digits that touch, `normalise.py` gives them MNIST's form,
and `page.py` makes guesses of them.
"""

from app.pictures.opening import PICTURE_SUFFIXES, find_pictures, open_picture
from app.pictures.page import Candidate, DigitImage, Guess, Page, is_for_one, read_page
from app.pictures.pieces import Box

__all__ = [
    "PICTURE_SUFFIXES",
    "Box",
    "Candidate",
    "DigitImage",
    "Guess",
    "Page",
    "find_pictures",
    "is_for_one",
    "open_picture",
    "read_page",
]
