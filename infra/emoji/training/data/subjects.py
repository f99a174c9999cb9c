"""What the model is trained to generate: 72 subjects, 12 background colours, 6 ways to ask for them."""

import re

#: Short name in the emoji data to the words of a prompt. The order fixes which image a seed generates.
SUBJECTS = {
    "grinning": "grinning face",
    "sleeping": "sleeping face",
    "heart_eyes": "face with heart eyes",
    "sunglasses": "face with sunglasses",
    "mask": "face with mask",
    "face_with_cowboy_hat": "cowboy face",
    "rage": "angry face",
    "smiling_imp": "purple devil",
    "skull": "skull",
    "ghost": "ghost",
    "alien": "alien",
    "hankey": "poop",
    "robot_face": "robot",
    "clown_face": "clown",
    "heart": "red heart",
    "blue_heart": "blue heart",
    "brain": "brain",
    "cow": "cow",
    "tiger": "tiger",
    "rabbit": "rabbit",
    "cat": "cat",
    "dog": "dog",
    "pig": "pig",
    "panda_face": "panda",
    "unicorn_face": "unicorn",
    "fox_face": "fox",
    "frog": "frog",
    "elephant": "elephant",
    "turtle": "turtle",
    "whale": "whale",
    "octopus": "octopus",
    "tropical_fish": "fish",
    "crab": "crab",
    "bee": "bee",
    "butterfly": "butterfly",
    "penguin": "penguin",
    "duck": "duck",
    "owl": "owl",
    "evergreen_tree": "pine tree",
    "palm_tree": "palm tree",
    "cactus": "cactus",
    "mushroom": "mushroom",
    "rose": "rose",
    "sunflower": "sunflower",
    "watermelon": "watermelon",
    "lemon": "lemon",
    "banana": "banana",
    "pineapple": "pineapple",
    "apple": "red apple",
    "green_apple": "green apple",
    "strawberry": "strawberry",
    "avocado": "avocado",
    "hamburger": "hamburger",
    "pizza": "pizza",
    "fried_egg": "fried egg",
    "icecream": "ice cream",
    "doughnut": "doughnut",
    "cupcake": "cupcake",
    "soccer": "soccer ball",
    "basketball": "basketball",
    "rainbow": "rainbow",
    "star": "star",
    "fire": "fire",
    "snowman": "snowman",
    "car": "red car",
    "blue_car": "blue car",
    "bus": "bus",
    "rocket": "rocket",
    "house": "house",
    "gift": "gift box",
    "crown": "crown",
    "bulb": "light bulb",
}
SHORT_NAMES = tuple(SUBJECTS)
NAMES = tuple(SUBJECTS.values())

#: Red, green and blue, 0 to 255.
Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "white": (250, 250, 250),
    "black": (24, 24, 28),
    "gray": (140, 142, 148),
    "red": (222, 52, 56),
    "orange": (246, 140, 44),
    "yellow": (250, 226, 84),
    "green": (70, 170, 84),
    "blue": (52, 104, 216),
    "purple": (138, 72, 186),
    "pink": (248, 160, 196),
    "teal": (40, 172, 176),
    "brown": (126, 82, 52),
}
COLOUR_NAMES = tuple(COLOURS)

TEMPLATES = (
    "a {subject} on a {colour} background",
    "{subject} on a {colour} background",
    "{subject}, {colour} background",
    "an emoji of a {subject} on {colour}",
    "a picture of a {subject} on a {colour} background",
    "{colour} background, {subject}",
)


def caption(subject: str, colour: str, template: int = 0) -> str:
    """The prompt for ``subject`` on ``colour`` in one of the ``TEMPLATES``."""
    text = TEMPLATES[template].format(subject=subject, colour=colour)
    return re.sub(r"\ba (?=[aeiou])", "an ", text)
