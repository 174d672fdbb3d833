"""What of a message may reach the user's screen; imported only when there is one.

The twin of report.c. UTF-8 that shows something goes through as it is; terminal escapes, and what would turn the line
round or hide in it, come out as a question mark a byte.
"""

HIDDEN = (
    (0x00, 0x1F),  # control characters, here and below
    (0x7F, 0x9F),
    (0xAD, 0xAD),  # the soft hyphen
    (0x61C, 0x61C),  # marks of direction, here and below
    (0x180E, 0x180E),  # without width, here and below
    (0x200B, 0x200F),  # both
    (0x2028, 0x202E),  # ends of lines and paragraphs, directions
    (0x2060, 0x206F),  # both
    (0xD800, 0xF8FF),  # halves of characters (what was no UTF-8), and what means something in one font alone
    (0xFEFF, 0xFEFF),  # the byte-order mark
    (0xFFF0, 0xFFFF),  # specials
    (0xE0000, 0x10FFFF),  # tags and private planes
)


def printable(raw: bytes) -> bytes:
    """Replace what must not be shown."""
    return "".join(map(shown, raw.decode("utf-8", "surrogateescape"))).encode()


def shown(char: str) -> str:
    """Return the character, or as many question marks as it has bytes."""
    code = ord(char)
    if any(first <= code <= last for first, last in HIDDEN):
        return "?" * len(char.encode("utf-8", "surrogateescape"))
    return char
