"""How a published Whisper transcribes. Reading this loads no model library: profiles, plans and keys hold it."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import UnknownKeyError

# Whisper's codes, as faster-whisper lists them; "yue" came with large-v3.
_CODES = (
    "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl "  # codespell:ignore fo
    "gu ha haw he hi hr ht hu hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg "
    "mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq "
    "sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo zh yue"  # codespell:ignore te
)
LANGUAGES = frozenset(_CODES.split())


@dataclass(frozen=True)
class WhisperSettings:
    """How a clip is transcribed.

    Attributes:
        language: of the speech, one of LANGUAGES. Every task of `engine.tasks` and every corpus of the paper is in
            English, hence the default; a profile names another for recordings of one's own. It is never guessed: a
            wrong guess is an error that is no system's own.
        beam_size: hypotheses kept; 5 is the library's own, and 1 is greedy.
        drop_silence: cut stretches without speech first (voice activity detection); words keep their times.
        device, compute_type: as CTranslate2 names them; "default" keeps the published weights' precision, where
            "auto" would take 8-bit integers if they are faster.

    Raises:
        UnknownKeyError: Whisper knows no such language.
    """

    language: str = "en"
    beam_size: int = 5
    drop_silence: bool = False
    device: str = "auto"
    compute_type: str = "default"

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise UnknownKeyError(
                f'Whisper knows no language "{self.language[:20]}"; give one of its codes, such as en, de or zh.'
            )

    @property
    def words(self) -> str:
        """What of this changes a transcript, as a run keeps it."""
        silence = "dropped" if self.drop_silence else "kept"
        return f"language {self.language}, beam of {self.beam_size}, silence {silence}"


USUAL = WhisperSettings()
