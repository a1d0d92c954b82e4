"""How a generated text is read: the label it names, whether it refuses, and what of it was only thought.

`engine.tasks.parse_answer` is the one caller. The rule is that of a careful reader who may decline: a label counts
where it is affirmed and no other is. Whatever is denied, doubted, asked, offered beside another or merely thought
names nothing; a wrong label is worse than none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from engine.words import Token, normalise, tokens_of


def _all_of(text: str, between: str | None = None) -> set[str]:
    return set(text.split(between))


# Other names of the labels of closed questions, folded; a name that is itself a label of the question is not taken.
OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "sci/tech": (
        *("science and technology", "science/technology", "science technology", "sci tech", "sci and tech"),
        *("science and tech", "science/tech", "science tech", "scitech"),
    ),
    "sports": ("sport",),
    "joy": ("joyful", "happy", "happiness"),
    "sadness": ("sad",),
    "anger": ("angry",),
    "fear": ("fearful", "afraid", "scared"),
    "disgust": ("disgusted",),
    "surprise": ("surprised",),
    "sarcastic": ("sarcasm",),
    "sincere": ("sincerity",),
    "man": ("male",),
    "woman": ("female",),
}

# Denials and doubts, what is said of a feeling that is shown and not had, and denials in a language that the question
# was not asked in.
_DENIALS = _all_of(
    """
    not no never none neither nor non nope nothing nobody nowhere without cannot hardly barely scarcely rarely
    seldom unlike except excluding unlikely lack lacks lacked lacking absent absence devoid minus zero less
    least beyond fail fails failed false falsely wrong incorrect incorrectly wrongly inaccurate doubt doubtful
    doubts deny denies denied reject rejects rejected exclude excludes excluded eliminate eliminates
    eliminated ruled rule avoid avoids avoided refuse refuses opposite contrary reverse inverse anything hard
    difficult impossible unclear uncertain unsure ain't isnt arent wasnt werent dont doesnt didnt cant couldnt
    wouldnt shouldnt wont hasnt havent aint stop stops stopped free short isn aren wasn weren doesn didn
    couldn wouldn few un anti pseudo quasi pretend pretends pretending pretended feign feigns feigned feigning
    fake fakes faking faked mock mocking faux supposedly ostensibly superficially nicht kein keine keinen pas
    nao niet geen inte ikke nie nem
    """
)
_IF = {"if", "whether", "unless", "were", "would've", "might've", "could've"}
_DENYING_PAIRS = {
    tuple(pair.split())
    for pair in _all_of(
        "rather than, instead of, other than, opposed to, far from, but for, yet to, used to, too to, as if, "
        "as though, all but, supposed to, could have, would have, should have, so called, out of, who would, "
        "the word, the words, the phrase, the term",
        ", ",
    )
}
_CERTAIN = re.compile(
    r"\b(?:no|without(?: any| a)?|beyond(?: any| a)?) (?:doubt|question)\b|\bnot only\b(?! not)", re.I
)
# "but" opens a clause anywhere, the others at its head only: "not so positive", "not yet positive".
_TURNS = {"but", "however", "instead", "rather", "so", "therefore", "thus", "hence", "then", "consequently"}
_REASONS = {"because", "since", "although", "though", "while", "whereas", "given", "despite", "due"}
_SUBJECTS = _all_of(
    """
    it it's its this that's he he's she she's they they're i'd speaker tone reviewer review sentiment emotion
    topic answer voice clip statement sentence
    """
)
_HANGS_ON = {"that", "whether", "if", "to", "as", "of", "like", "than"}
_ASIDE = _all_of(
    """
    really at all definitely absolutely certainly i think do don't so it is one this that quite way much the
    answer option choice present detected found none far from as if no be would isn't case here sorry wait
    correct right
    """
)
_NOUGHT = {"low", "na", "n/a", "null", "minimal"}
_CLAUSE_MARKS = frozenset(',;:()[]{}"“”«»—–|=…、，；：（）')
_ENDS = frozenset(".!?\n。！？")
_STOPS = {"st", "mt", "dr", "mr", "mrs", "ms", "jr", "sr", "prof", "vs"}  # a stop after one ends no sentence
_TO_THE_NEXT = {"and", "but", "not", "rather", "than", "instead", "of", "never", "a", "an", "the"}
_ARTICLES = {"a", "an", "the"}
_EITHER = {"or", "either", "/", "versus", "vs"}
# "World" as an ordinary word of the news.
_THE_WORLD = re.compile(
    r"\b(?:the|this|our|whole|entire|real|old|new|third|first|second|free|western|arab|art|a)\s+world\b"
    r"(?!\W*(?:category|topic|section|news|label)\b)"
    r"|\bworld[\s-]+(?:cup|series|records?|champion\w*|bank|war|trade|health|wide|class|titles?|tour|number|no|"
    r"econom\w+|markets?|leaders?|leading|rankings?|order|of|music|premiere|view|war)\b",
    re.IGNORECASE,
)

_SOMEBODY_ELSE = re.compile(
    r"\b(?:about|mention\w*|address\w*|(?:speak|talk|listen|repl)\w* (?:to|with)|with|for|another)\s+"
    r"(?:(?:a|an|the|this|that|some|another)\s+)?(?:\w+\s+)?(?:man|woman|male|female)\b",
    re.IGNORECASE,
)

_THOUGHT = "think|thinking|thought|thoughts|reasoning|reflection|analysis|scratchpad"
_THOUGHT_OPEN, _THOUGHT_CLOSED = (
    rf"(?:<\|?(?:{_THOUGHT})\b[^<>]*>|\[THINK\])",
    rf"(?:</\|?(?:{_THOUGHT})\s*>|\[/THINK\])",
)
_THOUGHTS = re.compile(
    rf"{_THOUGHT_OPEN}(?:(?!{_THOUGHT_OPEN}).)*?{_THOUGHT_CLOSED}", re.IGNORECASE | re.DOTALL
)
_THOUGHT_BEFORE = re.compile(rf"^.*{_THOUGHT_CLOSED}", re.IGNORECASE | re.DOTALL)  # the prompt had opened it
_THOUGHT_CUT = re.compile(rf"{_THOUGHT_OPEN}.*$", re.IGNORECASE | re.DOTALL)

_FENCE = re.compile(r"^\s*```[\w-]*\s*$", re.MULTILINE)
_STRUCK = re.compile(r"~~.*?~~|<(s|del|strike)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<\|[^<>|]*\|>")
_BOXED = re.compile(r"\\f?boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_LATEX = re.compile(r"\\[A-Za-z]+\s*\{([^{}]*)\}")
_MATHS = re.compile(r"\$\$?([^$\n]+?)\$\$?|\\[(\[](.+?)\\[)\]]", re.DOTALL)
_LINE_SIGN = re.compile(r"^[ \t]*(?:#{1,6}|>+|[-*+•]|\d{1,2}[.)])[ \t]+", re.MULTILINE)

_ANSWER_KEYS = _all_of(
    "answer, final_answer, finalanswer, final answer, label, prediction, class, category, choice, option, "
    "result, output, response, sentiment, topic, emotion, speaker, gender, classification, "
    "predicted_label, selected, selection, correct_answer, correct answer, tone, style, value",
    ", ",
)

_WONT = r"(?:can't|cannot|can not|could not|couldn't|won't|will not|am not able to|am unable to|do not have the \w+ to|don't have the \w+ to|lack the \w+ to|'m not able to|'m unable to)"  # noqa: E501
_DOING = (
    r"(?:answer|assist|comply|determine|provide|process|transcribe|identify|infer|classify|respond|fulfil?l|access"
    r"|listen|hear(?! you\b)|detect|recogni[sz]e|analy[sz]e|understand|make out|engage|discuss|complete|judge|decide|choose|say"  # noqa: E501
    r"|perceive|play|open|view|give (?:you )?an?|do (?:that|this)|help(?= *(?:$|[.,!;]|you\b *(?:$|[.,!;]|with)|with))"
    r"|tell(?= *(?:$|[.,!;]|if|whether|which|what|from|you (?:if|whether|which|what))))"
)
_SORRY = r"(?:(?:i'm|i am|we're|we are)?\s*(?:very |so |really |terribly )?(?:sorry|afraid)|(?:my )?apologies|i apologi[sz]e|unfortunately|regrettably)"  # noqa: E501
_SELF = r"as an? (?:ai|artificial|large|text|language|voice|speech|virtual)\b[^.!?]{0,60}?[,;:]?"
_REFUSAL = re.compile(
    rf"\W*(?:{_SORRY}\b[^.!?\n]{{0,40}}?[,.;:!-]?\s*(?:but|that|as|because|however)?\s*)?(?:{_SELF}\s*)?"
    rf"(?:(?:i|we)\s*{_WONT}\s+(?:\w+ly\s+)?{_DOING}"
    r"|(?:unable|not able|not possible|impossible) to (?:answer|determine|say|tell|identify|process|classify|transcribe)\b"  # noqa: E501
    r"|i (?:do not|don't|really don't) know\s*(?:$|[.,!;]|the (?:answer|topic)|what|which|who|where|when|if|whether|that|this)"  # noqa: E501
    r"|i have no idea|i'?m not sure\s*(?:$|[.,!;]|what|which|who|if|whether)"
    r"|i (?:do not|don't|did not|didn't) (?:hear|see|have access to|have) (?:any |an |the |that |your )?(?:audio|sound|recording|clip|file|speech)"  # noqa: E501
    r"|(?:no|there (?:is|was) no) (?:audio|recording|sound|speech|clip)\b"
    r"|please (?:provide|upload|share|attach)\b)",
    re.IGNORECASE,
)
_SELF_REFUSAL = re.compile(
    rf"\W*(?:{_SORRY}\b\W*(?:but\s*)?)?{_SELF}.*\b(?:not|can't|cannot|unable|don't|no)\b", re.IGNORECASE
)
_NOISE = re.compile(r"\W*\(\(noise\)\)\W*", re.IGNORECASE)
_OF_THE_TASK = re.compile(
    r"\b(?:audio|recording|transcri\w+|sound file|voice clip|speech clip|as an ai|language model)\b", re.I
)


def without_thoughts(text: str) -> str:
    """Return what a model says after it has thought: closed blocks go, and an open one with all that follows it."""
    text = _THOUGHTS.sub(" ", text)
    return _THOUGHT_CUT.sub(" ", _THOUGHT_BEFORE.sub(" ", text))


def is_refusal(text: str, *, labelled: bool, transcript: bool) -> bool:
    """Say whether an answer that names no label opens as a refusal does.

    Args:
        text: the answer, thoughts left out.
        labelled: the question allows certain answers only; then an apology is enough.
        transcript: the answer repeats what was said, and people say "I cannot"; it must speak of the recording.
    """
    text = " ".join(text.translate(str.maketrans("‘’ʼ", "'''")).replace("*", "").split())
    if _NOISE.fullmatch(text):
        return True
    if labelled and re.match(rf"\W*{_SORRY}\b", text, re.IGNORECASE):
        return True
    opens = bool(_REFUSAL.match(text) or _SELF_REFUSAL.match(text))
    return opens and (not transcript or bool(_OF_THE_TASK.search(text)))


def read_label(text: str, labels: Sequence[str], *, named: bool, lettered: bool) -> str | None:
    """Return the one label that an answer affirms; None where it affirms none or several.

    Args:
        text: the answer, thoughts left out.
        labels: the allowed answers.
        named: take the labels' other names (`OTHER_NAMES`) as well.
        lettered: "B" and "(b)" stand for the second of the labels.
    """
    reader = _Reader(labels, named=named, lettered=lettered)
    found, value = _json_in(text)
    if found:
        return reader.of_json(value)
    boxed = _BOXED.findall(text)
    if boxed:
        read = {reader.of_text(part) for part in boxed}
        return read.pop() if len(read) == 1 else None
    return reader.of_text(text)


def _json_in(text: str) -> tuple[bool, Any]:
    """Return whether the text holds exactly one JSON object or list, and its value."""
    decoder, start, values = json.JSONDecoder(), 0, []
    while (opened := re.search(r"[{\[]", text[start:])) is not None:
        place = start + opened.start()
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            start = place + 1
            continue
        if isinstance(value, dict) or (
            isinstance(value, list) and all(isinstance(v, str) for v in value) and value
        ):
            values.append(value)
        start = end
    return len(values) == 1, values[0] if values else None


def _plain(text: str) -> str:
    """Return a text without what only sets it: Markdown, LaTeX, tags; what is struck out is taken back and goes."""
    text = re.sub(r"(?<=\w)[`´](?=\w)", "'", text)  # "isn`t"
    text = _TAG.sub(" ", _STRUCK.sub(" ", _FENCE.sub("", text)))
    for _ in range(3):  # \boxed{\text{\mathbf{B}}}
        text = _LATEX.sub(r" \1 ", text)
    text = _MATHS.sub(lambda found: f" {found[1] or found[2]} ", text)
    text = _LINE_SIGN.sub("", text.replace("\\_", "_").replace("\\", " "))
    text = re.sub(r"(?<=[^\W\d_])-(?=[^\W\d_])", " ", text)  # "non-positive", "Sci-Tech"
    return _CERTAIN.sub(" surely ", re.sub(r"[*`_]+", " ", text))


class _Reader:
    """Reads the answers to one question."""

    def __init__(self, labels: Sequence[str], *, named: bool, lettered: bool) -> None:
        self.labels = tuple(labels)
        own = {normalise(label): label for label in labels}
        # A single letter is too often a word: it is read as a letter, or as the whole answer.
        names = {name: label for name, label in own.items() if not re.fullmatch(r"[a-z]", name)}
        for name, label in own.items() if named else ():
            for other in OTHER_NAMES.get(name, ()):
                if other not in own:
                    names[other] = label
        self.letters = {
            **({chr(ord("a") + place): label for place, label in enumerate(self.labels)} if lettered else {}),
            **{name: label for name, label in own.items() if re.fullmatch(r"[a-z]", name)},
        }
        self.whole = own
        # The longest name first: "ice cream" is found before "ice".
        self.names = sorted(
            ((_words(name), label) for name, label in names.items()), key=lambda pair: -len(pair[0])
        )

    def of_json(self, value: Any) -> str | None:
        """Read the value of an answer's key, or the one key that is true."""
        if isinstance(value, list):
            read = {self.of_json(part) for part in value}
            return read.pop() if len(read) == 1 else None
        if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
            return self.of_text(str(value))
        if not isinstance(value, dict):
            return None
        keyed = {self.of_json(v) for key, v in value.items() if str(key).strip().lower() in _ANSWER_KEYS}
        keyed -= {None}
        if keyed:
            return keyed.pop() if len(keyed) == 1 else None
        true = {self.of_text(str(key)) for key, v in value.items() if v is True}
        if true:
            return true.pop() if len(true) == 1 else None
        return self.of_json(next(iter(value.values()))) if len(value) == 1 else None

    def of_text(self, text: str) -> str | None:
        """Read a text: what stands behind "answer" goes before the rest, which must not speak against it."""
        plain = _plain(text)
        if normalise(plain) in self.whole and not plain.rstrip(" \"')").endswith("?"):
            return self.whole[normalise(plain)]
        if "world" in self.whole:
            plain = _THE_WORLD.sub(" ordinary ", plain)
        if "woman" in self.whole:
            plain = _SOMEBODY_ELSE.sub(" somebody ", plain)
        tokens = _split_strokes(tokens_of(plain))
        slots = [(place, self._segment(_to_end(tokens, place))) for place in _answer_slots(tokens)]
        named = {label for _, label in slots if label is not None}
        if named:
            last = max(place for place, label in slots if label is not None)
            later = set(self._affirmed(_after_end(tokens, last)))
            return named.pop() if len(named) == 1 and later <= named else None
        return (
            None
            if any(self._has_letter(_to_end(tokens, place)) for place, _ in slots)
            else self._segment(tokens)
        )

    def _segment(self, tokens: Sequence[Token]) -> str | None:
        """Return the one label of some sentences: by its letter at their head, or by its words."""
        affirmed = list(dict.fromkeys(self._affirmed(tokens)))
        letter, rest, alone = self._letter(tokens)
        if letter is None:
            return affirmed[0] if len(affirmed) == 1 else None
        if not affirmed:
            denied = any(label == letter for _, label in self._mentions(rest).values())
            return letter if alone and not denied else None
        # "(A) oven": the letter is the model's own count, the words are the answer.
        follows = (
            self._mentions(_trimmed(rest)[: 1 + max(len(words) for words, _ in self.names)])
            if self.names
            else {}
        )
        at_once = bool(follows) and min(follows) == 0
        return affirmed[0] if len(affirmed) == 1 and (affirmed[0] == letter or at_once) else None

    def _has_letter(self, tokens: Sequence[Token]) -> bool:
        """Say whether letters are named that `_letter` would not take: "either A or B", "not (b)"."""
        return any(token.spelt in self.letters and token.written.isupper() for token in tokens)

    def _letter(self, tokens: Sequence[Token]) -> tuple[str | None, Sequence[Token], bool]:
        """Return the label of a letter at the head, what follows it, and whether that leaves the letter alone."""
        tokens = _trimmed(tokens, marks="\n:=\"'“”")
        while tokens and tokens[0].spelt in ("option", "choice", "letter"):
            tokens = _trimmed(tokens[1:], marks="\n:=\"'“”")
        opened = bool(tokens) and tokens[0].written in ("(", "[")
        tokens = tokens[1:] if opened else tokens
        if not tokens or tokens[0].spelt not in self.letters:
            return None, tokens, False
        mark, rest = tokens[0], tokens[1:]
        closed = bool(rest) and rest[0].written in (")", "]")
        if any(token.written in "?？" for token in rest[:2]):
            return None, tokens, False
        if not mark.written.isupper() and not closed:
            return None, tokens, False
        ended = False
        while rest and not rest[0].is_word and not ended and rest[0].written in ")].,:;\"'”\n-–—":
            ended, rest = rest[0].written == "\n", rest[1:]
        words = [token.spelt for token in rest if token.is_word]
        alone = not words or words[0] in _REASONS | {"as", "for"} or (ended and words[0] not in self.letters)
        # "B, not C"
        others = self.letters.keys() - {mark.spelt}
        alone = alone or (words[0] == "not" and not others.isdisjoint(words[1:2]))
        return self.letters[mark.spelt], rest, alone

    def _mentions(self, tokens: Sequence[Token]) -> dict[int, tuple[int, str]]:
        """Return where labels are named: first token -> (one after the last, label)."""
        found: dict[int, tuple[int, str]] = {}
        place = 0
        while place < len(tokens):
            ends = ((_matched(tokens, place, words), label) for words, label in self.names)
            end, label = next(((end, label) for end, label in ends if end), (0, ""))
            if end:
                found[place] = (end, label)
            place = end or place + 1
        return found

    def _affirmed(self, tokens: Sequence[Token]) -> Iterable[str]:
        """Yield the labels that these sentences affirm, in order."""
        mentions = self._mentions(tokens)
        covered = {place for start, (stop, _) in mentions.items() for place in range(start, stop)}
        said: list[str] = []
        fresh = 0  # labels of the last clause that named one: a "no" behind it takes them back
        for start, stop, asked in _sentences(tokens, covered):
            denied = False
            for first, last, turns in _clauses(tokens, start, stop, covered):
                here = [(p, *mentions[p]) for p in range(first, last) if p in mentions]
                around = [
                    (p, tokens[p].spelt) for p in range(first, last) if p not in covered and tokens[p].is_word
                ]
                words = [word for _, word in around]
                if not here:
                    if fresh and _takes_back(words):
                        del said[-fresh:]
                        fresh = 0
                    denied = (denied and not turns) or _denies(words)
                    continue
                denied = denied and not turns
                own = bool(set(words) & _SUBJECTS) and (not words or words[0] not in _HANGS_ON)
                before = len(said)
                for place, end, label in here:
                    led = [word for p, word in around if p < place]
                    follow = min((p for p, _, _ in here if p > place), default=last)
                    behind = [word for p, word in around if end <= p < follow]
                    # "sincere and not sarcastic" denies the second, "positive isn't right and ..." the first.
                    taken_back = _denies(behind) and not (follow < last and set(behind) <= _TO_THE_NEXT)
                    doubtful = self._doubtful(tokens, place, end, led)
                    if not (asked or (denied and not own) or _denies(led) or taken_back or doubtful):
                        said.append(label)
                denied = denied or _denies(words)
                fresh = len(said) - before
        return said

    def _doubtful(self, tokens: Sequence[Token], place: int, end: int, led: Sequence[str]) -> bool:
        """Say whether a name is offered beside something else, is a number's part, or stands in foreign words."""
        before = place - 1
        while before > 0 and (tokens[before].spelt in _ARTICLES or tokens[before].written in "\"'“‘("):
            before -= 1
        near = {tokens[p].spelt for p in (before, end) if 0 <= p < len(tokens)}
        if near & _EITHER or led[-1:] in (["i'm"], ["am"]) or _IF & set(led):
            return not self._same_beside(tokens, place, end, before)
        name = tokens[place].spelt
        if name[-1].isdigit() or name[-1] == "%":
            return any(
                word[-1].isdigit() or word in ("negative", "minus", "point", "hundred", "thousand")
                for word in near
            )
        return bool(name.isascii()) and any(word[0].isalpha() and ord(word[0]) > 0x24F for word in led)

    def _same_beside(self, tokens: Sequence[Token], place: int, end: int, before: int) -> bool:
        """Say whether "or" and a stroke stand between two names of one label: "happy/joyful"."""
        mentions = self._mentions(tokens)
        label = mentions[place][1]
        left = next((found[1] for found in mentions.values() if found[0] == before), None)
        right = mentions.get(end + 1, (0, None))[1]
        sides = [
            side
            for p, side in ((before, left), (end, right))
            if 0 <= p < len(tokens) and tokens[p].spelt in _EITHER
        ]
        return bool(sides) and all(side == label for side in sides)


def _matched(tokens: Sequence[Token], place: int, words: Sequence[str]) -> int:
    """Return the place behind these words where they stand here, a stop or dash between them ("St. Louis"); else 0."""
    for number, word in enumerate(words):
        while number and place < len(tokens) and tokens[place].written in (".", "-"):
            place += 1
        if place == len(tokens) or tokens[place].spelt != word:
            return 0
        place += 1
    return place


def _words(name: str) -> tuple[str, ...]:
    return tuple(token.spelt for token in _split_strokes(tokens_of(name)))


def _split_strokes(tokens: Sequence[Token]) -> list[Token]:
    """Return the tokens with "positive/negative" as two words and a stroke between them."""
    parts: list[Token] = []
    for token in tokens:
        pieces = [piece for piece in re.split(r"(/)", token.spelt) if piece] if token.is_word else []
        if len(pieces) < 2:
            parts.append(token)
        else:
            parts += [Token(piece, piece, piece != "/") for piece in pieces]
    return parts


def _trimmed(tokens: Sequence[Token], marks: str = ")].,:;\"'”\n-–—(") -> Sequence[Token]:
    while tokens and not tokens[0].is_word and tokens[0].written in marks:
        tokens = tokens[1:]
    return tokens


def _denies(words: Sequence[str]) -> bool:
    """Say whether some words hold a denial or a doubt, alone or as a pair such as "rather than"."""
    if any(word in _DENIALS or word.endswith("n't") for word in words):
        return True
    pairs = set(pairwise(words))
    if pairs & _DENYING_PAIRS or (("would", "be") in pairs and "answer" not in words):
        return True
    return "too" in words and "to" in words[words.index("too") :]


def _takes_back(words: Sequence[str]) -> bool:
    """Say whether a clause is nothing but a denial of the one before it: "no", "not at all", "0.1"."""
    if len(words) == 1 and (
        words[0] in _NOUGHT or re.fullmatch(r"0?\.[0-4]\d*|0(?:\.0*)?%?|[1-4]?\d%", words[0])
    ):
        return True
    return bool(words) and _denies(words) and set(words) <= _ASIDE | _DENIALS


def _answer_slots(tokens: Sequence[Token]) -> list[int]:
    """Return where an answer is announced: behind "answer:", "the answer to it is", "answer would be"."""
    slots = []
    for place, token in enumerate(tokens):
        if token.spelt != "answer":
            continue
        for ahead in range(place + 1, min(place + 8, len(tokens))):
            if tokens[ahead].written in (":", "=", "：") or tokens[ahead].spelt in ("is", "be"):
                slots.append(ahead + 1)
                break
            if tokens[ahead].written in _ENDS - {"\n"} or tokens[ahead].spelt in _DENIALS:
                break
    return slots


def _to_end(tokens: Sequence[Token], place: int) -> Sequence[Token]:
    """Return the sentence from a place on; an empty rest of a line goes on in the next."""
    while place < len(tokens) and not tokens[place].is_word and tokens[place].written in "\n:*\"'“":
        place += 1
    stop = next((p for p in range(place, len(tokens)) if _ends(tokens, p)), len(tokens) - 1)
    # "Answer: B." ends there; the stop shows a question for what it is.
    return tokens[place : stop + 1]


def _after_end(tokens: Sequence[Token], place: int) -> Sequence[Token]:
    while place < len(tokens) and not tokens[place].is_word:
        place += 1
    stop = next((p for p in range(place, len(tokens)) if _ends(tokens, p)), len(tokens))
    return tokens[stop + 1 :]


def _ends(tokens: Sequence[Token], place: int) -> bool:
    """Say whether a sentence ends at this token; a stop behind an initial or "Mr" ends none."""
    if tokens[place].is_word or tokens[place].written not in _ENDS:
        return False
    before = tokens[place - 1] if place else None
    if tokens[place].written != "." or before is None or place + 1 == len(tokens):
        return True
    return before.spelt not in _STOPS


def _sentences(tokens: Sequence[Token], covered: set[int]) -> Iterable[tuple[int, int, bool]]:
    """Yield (first, one after the last, whether it is a question) of each sentence."""
    start = 0
    for place in range(len(tokens)):
        if place not in covered and _ends(tokens, place):
            yield start, place, tokens[place].written in "?？"
            start = place + 1
    yield start, len(tokens), False


def _clauses(
    tokens: Sequence[Token], start: int, stop: int, covered: set[int]
) -> Iterable[tuple[int, int, bool]]:
    """Yield (first, one after the last, whether it turns against what was said) of each clause of a sentence."""
    first, turns, fresh = start, False, True
    for place in range(start, stop):
        token = tokens[place]
        if place in covered:
            fresh = False
            continue
        before = tokens[place - 1].spelt if place > start else ""
        opens = token.spelt == "but" and before not in ("anything", "nothing", "all", "none", "cannot", "not")
        opens = opens or (token.spelt in _TURNS - {"but"} and (fresh or before == "and"))
        opens = opens and (
            token.spelt not in ("rather", "instead")
            or tokens[min(place + 1, stop - 1)].spelt not in ("than", "of")
        )
        if not token.is_word and token.written in _CLAUSE_MARKS:
            yield first, place, turns
            first, turns, fresh = place + 1, token.written in ":=：", True
        elif opens:
            if fresh:
                turns = True
            else:
                yield first, place, turns
                first, turns = place, True
            fresh = False
        elif token.spelt in _REASONS and not fresh:
            yield first, place, turns
            first, turns, fresh = place, False, False
        elif token.is_word:
            fresh = False
    yield first, stop, turns
