"""Whether a text names somebody or something of theirs: e-mail address, phone, card, account, IBAN, SSN.

Every check looks at a bounded stretch around a sign that cannot be missing (an `@`, a digit), so that the
whole is linear in the text whatever it holds.
"""

import re

__all__ = ["holds_identifier"]

_DIGIT = re.compile(r"\d")
_MAIL_BEFORE = re.compile(r"[\w.%+-]$")
_MAIL_AFTER = re.compile(r"@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,8}", re.IGNORECASE)
# Each match takes the whole run, so none of it is read again.
_RUN = re.compile(r"(?<![\w.,])[+(]{0,2}\d(?:[ ().-]{0,2}\d)*(?![\w])")
_SSN = re.compile(r"\d{3}-\d{2}-\d{4}")
_PHONE = re.compile(r"\+\d[\d ().-]{6,}|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}|0\d{3,4}[ -]\d{3}[ -]?\d{3,4}")
_IBAN = re.compile(r"\b[a-z]{2}\d{2}(?: ?[a-z0-9]){11,30}\b", re.IGNORECASE)

# Nine digits in one go are an account, an order, a phone or a passport; amounts have separators.
_LEAST_PLAIN_DIGITS = 9
_CARD_DIGITS = range(13, 20)


def holds_identifier(text: str) -> bool:
    """Whether `text` holds something that stands for one person or one of their accounts. Linear."""
    at = text.find("@")
    while at >= 0:
        if _MAIL_BEFORE.search(text, max(at - 1, 0), at) and _MAIL_AFTER.match(text, at):
            return True
        at = text.find("@", at + 1)
    # All else has digits, which most questions have not.
    if not _DIGIT.search(text):
        return False
    return any(map(_is_identifier, _RUN.findall(text))) or any(map(_is_iban, _IBAN.findall(text)))


def _is_identifier(run: str) -> bool:
    if len(run) < _LEAST_PLAIN_DIGITS:
        return False
    if run.isdigit() or _SSN.fullmatch(run) or _PHONE.fullmatch(run):
        return True
    digits = "".join(filter(str.isdigit, run))
    return len(digits) in _CARD_DIGITS and _passes_luhn(digits)


def _passes_luhn(digits: str) -> bool:
    """The check digit of payment cards. Source: ISO/IEC 7812-1, annex B."""
    total = 0
    for i, digit in enumerate(map(int, reversed(digits))):
        total += digit if i % 2 == 0 else (2 * digit - 9 if digit > 4 else 2 * digit)
    return total % 10 == 0


def _is_iban(text: str) -> bool:
    """The check digits of bank accounts. Source: ISO 13616-1, section 6.1."""
    compact = text.replace(" ", "").upper()
    if not compact.isascii():
        return False
    moved = compact[4:] + compact[:4]
    return int("".join(str(int(sign, 36)) for sign in moved)) % 97 == 1
