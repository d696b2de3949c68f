from app.pictures.layout import Box
from app.pictures.opening import find_pictures
from app.pictures.page import Candidate, DigitImage, Guess, Page, read_page
