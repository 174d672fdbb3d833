"""Damages what is right: most of what a parser must survive is nearly right."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

ODD = (
    *(
        b"",
        b"\0",
        b"\n",
        b"\r\n",
        b" ",
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"=",
        b"&",
        b"%",
        b"%00",
        b"#",
    ),
    *(b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", "\u202e\u0661\u00e9".encode(), b"\x1b[2J", b"../", b"0"),
    *(b"-1", b"9" * 25, b"1e999", b"NaN", b"null", b"true", b"[" * 200, b'{"":' * 200, b"A" * 9000),
)
"""Pieces that mean something to one parser or another."""

SMALL = 4096
"""Bytes of what is damaged; a larger sample of a corpus is tried as it stands."""


def damaged(corpus: Sequence[bytes], odd: Sequence[bytes] = ()) -> st.SearchStrategy[bytes]:
    """Take one of the corpus and cut, repeat, insert and overwrite; now and then take anything at all.

    `odd` are more pieces to put in.
    """
    small = tuple(sample for sample in corpus if len(sample) <= SMALL)
    return _damaged(small, (*ODD, *odd)) | st.binary(max_size=300)


@st.composite
def _damaged(draw: st.DrawFn, corpus: Sequence[bytes], odd: Sequence[bytes]) -> bytes:
    content = draw(st.sampled_from(corpus))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 24)))
        piece = draw(st.sampled_from(odd) | st.binary(max_size=6) | st.just(content[start:end] * 2))
        content = content[:start] + piece + content[end:]
    return content[: draw(st.just(len(content)) | st.integers(0, len(content)))]
