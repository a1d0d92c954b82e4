"""Written text made speakable: what a reader skips over must not be read aloud.

Pure functions on strings. Case and punctuation stay: a voice takes its melody from them.
"""

from __future__ import annotations

import html
import re

# AG News lost the "&" of many entities ("Google #39;s", "quot;Hero quot;").
_BARE_ENTITY = re.compile(r"(?<![&\w;])(#\d{2,4};|(?:quot|amp|lt|gt|nbsp|mdash);)")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_AGENCIES = "Reuters|AP|AFP|USATODAY.com|SPACE.com|washingtonpost.com|Ziff Davis|MacCentral|TheStreet.com"
_AGENCY = re.compile(rf"\((?:{_AGENCIES})\)\s*(?:(?:{_AGENCIES})\s+-+\s+)?")
# The bytes of one UTF-8 character above ASCII, each read as a character of Windows-1252.
_HIGH = "".join(bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xC0))
_MISREAD = re.compile(rf"[Â-ß][{re.escape(_HIGH)}]|[à-ï][{re.escape(_HIGH)}]{{2}}|ð[{re.escape(_HIGH)}]{{3}}")
_STRAIGHT = str.maketrans("‘’“”", "''\"\"")
_MAC_APOSTROPHE = re.compile(r"(?<=[a-z])Õ(?=[a-z])")
_APART = re.compile(r"\s+('(?:s|re|ve|ll|d|m|t)\b)")

# The Penn treebank's signs, as SST-2 has them in lower case.
_TREEBANK = {"-lrb-": "(", "-rrb-": ")", "``": '"', "''": '"', "\\/": "/", "\\*": "*"}


def clean_news(text: str) -> str:
    r"""Return a line of AG News as a newsreader would say it.

    Entities become their letters, mark-up and backslashes go, and so does the agency's name in brackets with
    the dateline after it: "(Reuters) Reuters - Oil fell\again" is "Oil fell again".
    """
    for _ in range(2):  # "&amp;lt;" was escaped twice
        text = html.unescape(_BARE_ENTITY.sub(r"&\1", text))
    text = _TAG.sub(" ", text).replace("\\", " ")
    return _APART.sub(r"\1", _one_line(_AGENCY.sub(" ", text)))


def clean_review(text: str) -> str:
    """Return a sentence of SST-2 with its tokens put together: "it 's bad , is n't it" is "it's bad, isn't it"."""
    for sign, plain in _TREEBANK.items():
        text = text.replace(sign, plain)
    text = re.sub(r"(\w)\s+n't\b", r"\1n't", _APART.sub(r"\1", _one_line(text)))
    text = re.sub(r"\s+([,.;:!?)])", r"\1", text)
    return re.sub(r"\(\s+", "(", text)


def clean_line(text: str) -> str:
    """Return the text on one line, with entities as letters and apostrophes that a wrong encoding broke mended.

    "thatâ€™s" was UTF-8 read as Windows-1252, "donÕt" Mac Roman read as Latin-1; what is no such form stays.
    """
    text = _MISREAD.sub(_reread, html.unescape(text))
    return _one_line(_MAC_APOSTROPHE.sub("'", text))


def _reread(found: re.Match[str]) -> str:
    try:
        return found[0].encode("cp1252").decode("utf-8").translate(_STRAIGHT)
    except UnicodeError:
        return found[0]


def _one_line(text: str) -> str:
    return " ".join(text.split())
