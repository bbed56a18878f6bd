"""Errors for bodies that are not JSON: they have the words and the byte offsets of tritonserver 2.51.0.

Each body was posted to the real server, which answered 500 `failed to parse the request JSON buffer: <words> at
<offset>`. Both parsers must agree: the fast one that reads every request, and the exact one that finds the fault.
"""

import pytest

from triton_emulator.protocol.json_dialect import JSONParseError, parse
from triton_emulator.protocol.json_dialect.exact_parser import MAX_DEPTH, TERMINATED, parse_exact

# fmt: off
REFUSED: list[tuple[str, str, dict[bytes, int]]] = [
    ("a document without a value is empty", "The document is empty.", {
        b" ": 1, b"\n\t\r ": 4, b"\x00": 0, b"\x00{}": 0, b" \x00 1": 1, b"\xef\xbb\xbf": 3, b"\xbf ": 2,
    }),
    ("one value is all that a document holds", "The document root must not be followed by other values.", {
        b"{} {}": 3, b"{}x": 2, b"1 2": 2, b"01": 1, b"-01": 2, b"00": 1, b"0x1": 1, b"1-2": 1,
        b"1.5.5": 3, b"1e5e5": 3, b"1e5.5": 3, b"[]]": 2, b"{}}": 2, b"null,": 4, b"truex": 4,
        b"Infx": 3, b"Infinityx": 8, b"Infinityi": 8, b"NaNInf": 3, b"NaNN": 3, b'"a""b"': 3,
        b"{}/**/": 2, b"{}\x01": 2, b"{}\xff": 2, b"{}\xef\xbb\xbf": 2, b"1e5e": 3,
    }),
    ("what does not start a value is refused where it stands", "Invalid value.", {
        b"}": 0, b"]": 0, b",": 0, b":": 0, b"x": 0, b"True": 0, b"None": 1, b"undefined": 0, b"'a'": 0,
        b"+1": 0, b".5": 0, b"//c\n{}": 0, b"/*c*/{}": 0, b"#": 0, b"\\n": 0, b"\x0b{}": 0, b"\x0c1": 0,
        b"\x1f": 0, b"\x7f": 0, b"\xff\xfe{\x00}\x00": 0, b"\xc2\xa0{}": 0, b"\xfe1": 0, b"infinity": 0,
        b"i": 0, b"a": 0, b"E5": 0, b"  }": 2,
    }),
    ("a broken word is refused at the first byte that does not belong", "Invalid value.", {
        b"n": 1, b"nu": 2, b"nul": 3, b"nan": 1, b"nULL": 1, b"nulx": 3, b"t": 1, b"trux": 3, b"tr": 2,
        b"tRUE": 1, b"f": 1, b"fals": 4, b"falsy": 4, b"fa1se": 2, b"[nul,1]": 4, b"N": 1, b"Na": 2,
        b"Nan": 2, b"NA": 1, b"NN": 1, b"NaI": 3, b"NIn": 3, b"NaInx": 4, b"I": 1, b"In": 2, b"INF": 1,
        b"Infi": 4, b"Infin": 5, b"Infini": 6, b"Infinit": 7, b"Infix": 4, b"-Infinit": 8, b"-": 1,
        b"-x": 1, b"--1": 1, b"- 1": 1, b'-"a"': 1, b"-nan": 1, b"-NaI": 4, b"[-]": 2, b"[-,1]": 2,
    }),
    ("a number needs digits after its point and in its exponent", "Miss fraction part in number.", {
        b"1.": 2, b"0.": 2, b"-0.": 3, b"1.e5": 2, b"1.x": 2, b"[1.]": 3, b"NaN.": 4, b"-Inf.": 5,
        b"Infinity.e1": 9, b'{"a":2.}': 7, b"123456789012345678901234567890.": 31,
    }),
    ("a number needs digits after its point and in its exponent", "Miss exponent in number.", {
        b"1e": 2, b"1E": 2, b"1e+": 3, b"1e-": 3, b"0e": 2, b"1.5e": 4, b"1.5E+": 5, b"-0.0e-": 6,
        b"1ee5": 2, b"1e.5": 2, b"NaNe": 4, b"Infe+": 5, b"[1e]": 3, b"1e+-5": 3,
    }),
    ("a number beyond the doubles is refused at its first byte", "Number too big to be stored in double.", {
        b"1e309": 0, b"1e400": 0, b"-1e400": 0, b"[0,1e400]": 3, b'{"a": -1E+999}': 6, b"0e309": 0,
        b"0.1e310": 0, b"0.00e311": 0, b"1e99999999999": 0, b"1e0000000000000000000400": 0,
        b"1" + b"0" * 309: 0, b"2" + b"0" * 308: 0, b"-" + b"9" * 400: 0, b"9" * 400 + b".": 0,
        b"9" * 400 + b"e": 0, b"1e400x": 0, b"1e309.": 0,
    }),
    ("a member needs a name, a colon and a value", "Missing a name for object member.", {
        b"{": 1, b"{ ": 2, b"{,": 1, b"{]": 1, b"{a:1}": 1, b"{'a':1}": 1, b"{1:2}": 1, b"{null:1}": 1,
        b'{"a":1,}': 7, b'{"a":1,,"b":2}': 7, b'{"a":1,': 7, b'{"a":1, ': 8, b"{\x00": 1, b"{\x00}\x00": 1,
    }),
    ("a member needs a name, a colon and a value", "Missing a colon after a name of object member.", {
        b'{"a"': 4, b'{"a" ': 5, b'{"a"}': 4, b'{"a" 1}': 5, b'{"a","b"}': 4, b'{"a"\x00}': 4,
    }),
    ("a member needs a name, a colon and a value", "Invalid value.", {
        b'{"a"::1}': 5, b'{"a":': 5, b'{"a":}': 5, b'{"a": }': 6, b'{"a":,': 5, b'{"a" : ]': 7,
    }),
    ("members and elements are parted by commas", "Missing a comma or '}' after an object member.", {
        b'{"a":1': 6, b'{"a":1 ': 7, b'{"a":1 "b":2}': 7, b'{"a":1]': 6, b'{"a":1:': 6, b'{"a":{}': 7,
        b'{"a":1\x00}': 6, b'{"a":1;"b":2}': 6, b'{"a":01}': 6,
    }),
    ("members and elements are parted by commas", "Missing a comma or ']' after an array element.", {
        b"[1": 2, b"[1 ": 3, b"[1 2]": 3, b"[1}": 2, b"[1;2]": 2, b"[1:2]": 2, b'["a""b"]': 4, b"[[]": 3,
        b"[{}": 3, b"[1,2": 4, b"[1\x00]": 2, b"[0x1]": 2, b"[1,2.5.5]": 6,
    }),
    ("an element is missing", "Invalid value.", {
        b"[": 1, b"[ ": 2, b"[,]": 1, b"[,1]": 1, b"[1,]": 3, b"[1, ]": 4, b"[1,,2]": 3, b"[1,": 3,
        b"[}": 1, b"[\x00]": 1, b"[[1,2],": 7, b'{"a":[}': 6,
    }),
    ("a string ends with a quotation mark", "Missing a closing quotation mark in string.", {
        b'"': 1, b'"abc': 4, b'"abc\x00"': 4, b'"\x00': 1, b'["a': 3, b'{"a': 3, b'{"a\x00":1}': 3,
        b'"a\'': 3, b'"\\"': 3, b'"\xff': 2, b'"\xc3': 2,
    }),
    ("a control character in a string is called a bad escape", "Invalid escape character in string.", {
        b'"\x01"': 1, b'"a\nb"': 2, b'"a\tb"': 2, b'"\x1f': 1, b'{"\x0b":1}': 2, b'["ok","\r"]': 7,
    }),
    ("an escape must be one that JSON has", "Invalid escape character in string.", {
        b'"\\x"': 1, b'"\\a"': 1, b'"\\0"': 1, b'"\\U0041"': 1, b'"\\ "': 1, b'"\\': 1, b'"abc\\': 4,
        b'"\\\x00"': 1, b'"\\\n"': 1, b'"\\\'"': 1, b'"\\n\\q"': 3, b'{"\\v":1}': 2, b'["\\u00e9\\': 8,
    }),
    ("a unicode escape has four hexadecimal digits", "Incorrect hex digit after \\u escape in string.", {
        b'"\\u"': 1, b'"\\u': 1, b'"\\u1"': 1, b'"\\u12"': 1, b'"\\u123"': 1, b'"\\u12G4"': 1,
        b'"\\u 123"': 1, b'"\\u+123"': 1, b'"\\u0x12"': 1, b'"a\\u00e"': 2, b'"\\ud83d\\u"': 1,
        b'"\\ud83d\\ude0"': 1, b'"\\ud800\\udc0g"': 1, b'"\\ud83d\\uzzzz"': 1, b'{"\\u00":1}': 2,
    }),
    ("a high surrogate is followed by a low one", "The surrogate pair in string is invalid.", {
        b'"\\ud800"': 1, b'"\\udbff': 1, b'"\\uD83D x"': 1, b'"\\ud800\\n"': 1, b'"\\ud800\\"': 1,
        b'"\\ud800\\u0041"': 1, b'"\\ud800\\ud800"': 1, b'"\\ud83d\\ud83d\\ude00"': 1,
        b'"\\ud83d\\ue000"': 1, b'"ok \\ud83d"': 4, b'{"\\ud83d":1}': 2, b'"\\\\\\ud83d"': 3,
    }),
]
# fmt: on

# A request cut off after so many bytes (from, to), the words, and the offset (None: where it was cut off).
# fmt: off
DOCUMENT = b'{"inputs":[{"name":"\\u00e9\\n","shape":[1,-2.5e3],"data":[true,null,NaN]}],"id":""}'
CUT_SHORT: list[tuple[int, int, str, int | None]] = [
    (1, 1, "Missing a name for object member.", None),
    (2, 8, "Missing a closing quotation mark in string.", None),
    (9, 9, "Missing a colon after a name of object member.", None),
    (10, 11, "Invalid value.", None),
    (12, 12, "Missing a name for object member.", None),
    (13, 17, "Missing a closing quotation mark in string.", None),
    (18, 18, "Missing a colon after a name of object member.", None),
    (19, 19, "Invalid value.", None),
    (20, 20, "Missing a closing quotation mark in string.", None),
    (21, 21, "Invalid escape character in string.", 20),
    (22, 25, "Incorrect hex digit after \\u escape in string.", 20),
    (26, 26, "Missing a closing quotation mark in string.", None),
    (27, 27, "Invalid escape character in string.", 26),
    (28, 28, "Missing a closing quotation mark in string.", None),
    (29, 29, "Missing a comma or '}' after an object member.", None),
    (30, 30, "Missing a name for object member.", None),
    (31, 36, "Missing a closing quotation mark in string.", None),
    (37, 37, "Missing a colon after a name of object member.", None),
    (38, 39, "Invalid value.", None),
    (40, 40, "Missing a comma or ']' after an array element.", None),
    (41, 42, "Invalid value.", None),
    (43, 43, "Missing a comma or ']' after an array element.", None),
    (44, 44, "Miss fraction part in number.", None),
    (45, 45, "Missing a comma or ']' after an array element.", None),
    (46, 46, "Miss exponent in number.", None),
    (47, 47, "Missing a comma or ']' after an array element.", None),
    (48, 48, "Missing a comma or '}' after an object member.", None),
    (49, 49, "Missing a name for object member.", None),
    (50, 54, "Missing a closing quotation mark in string.", None),
    (55, 55, "Missing a colon after a name of object member.", None),
    (56, 60, "Invalid value.", None),
    (61, 61, "Missing a comma or ']' after an array element.", None),
    (62, 65, "Invalid value.", None),
    (66, 66, "Missing a comma or ']' after an array element.", None),
    (67, 69, "Invalid value.", None),
    (70, 70, "Missing a comma or ']' after an array element.", None),
    (71, 71, "Missing a comma or '}' after an object member.", None),
    (72, 72, "Missing a comma or ']' after an array element.", None),
    (73, 73, "Missing a comma or '}' after an object member.", None),
    (74, 74, "Missing a name for object member.", None),
    (75, 77, "Missing a closing quotation mark in string.", None),
    (78, 78, "Missing a colon after a name of object member.", None),
    (79, 79, "Invalid value.", None),
    (80, 80, "Missing a closing quotation mark in string.", None),
    (81, 81, "Missing a comma or '}' after an object member.", None),
]
# fmt: on


@pytest.mark.parametrize(
    "body, words, offset",
    [
        pytest.param(body, words, offset, id=f"{rule}: {body[:40]!r}")
        for rule, words, bodies in REFUSED
        for body, offset in bodies.items()
    ],
)
def test_a_body_that_is_not_json_is_refused_with_the_servers_words(
    body: bytes, words: str, offset: int
) -> None:
    for read in (parse, parse_exact):
        with pytest.raises(JSONParseError) as refusal:
            read(body)
        assert (refusal.value.message, refusal.value.offset) == (words, offset)
        assert str(refusal.value) == f"{words} at {offset}"


@pytest.mark.parametrize("first, last, words, offset", CUT_SHORT)
def test_a_request_that_is_cut_short_is_refused_where_it_ends(
    first: int, last: int, words: str, offset: int | None
) -> None:
    for length in range(first, last + 1):
        with pytest.raises(JSONParseError) as refusal:
            parse(DOCUMENT[:length])
        assert str(refusal.value) == f"{words} at {length if offset is None else offset}"


def test_the_cuts_cover_every_byte_of_the_request() -> None:
    covered = [length for first, last, _, _ in CUT_SHORT for length in range(first, last + 1)]
    assert covered == list(range(1, len(DOCUMENT)))
    assert parse(DOCUMENT)


def test_an_empty_body_is_an_empty_document() -> None:
    with pytest.raises(JSONParseError, match=r"^The document is empty\. at 0$"):
        parse(b"")


def test_nesting_beyond_the_limit_is_refused() -> None:
    body = b"[" * (MAX_DEPTH + 1) + b"1" + b"]" * (MAX_DEPTH + 1)
    with pytest.raises(JSONParseError) as refusal:
        parse(body)
    assert (refusal.value.message, refusal.value.offset) == (TERMINATED, MAX_DEPTH)


@pytest.mark.parametrize(
    "body, offset", [(b"}", 0), (b" ]", 1), (b",", 0), (b"\n\t:1", 2), (b"\xef\xbb\xbf}", 3)]
)
def test_the_iterative_parser_takes_a_document_that_begins_with_no_value_for_an_empty_one(
    body: bytes, offset: int
) -> None:
    with pytest.raises(JSONParseError) as refusal:
        parse(body, iterative=True)
    assert (refusal.value.message, refusal.value.offset) == ("The document is empty.", offset)


@pytest.mark.parametrize("body", [b"[}", b"[,]", b'{"a":]', b"nope", b"1 2", b"{:}"])
def test_the_iterative_parser_has_the_other_errors_of_the_recursive_one(body: bytes) -> None:
    texts = []
    for iterative in (False, True):
        with pytest.raises(JSONParseError) as refusal:
            parse(body, iterative=iterative)
        texts.append(str(refusal.value))
    assert texts[0] == texts[1]
