"""Annotations as tools write them, and ways to damage one."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from itertools import pairwise

NEU = """<annotation>
\t<folder>cr</folder>
\t<filename>crazing_78.jpg</filename>
\t<source>
\t\t<database>NEU-DET</database>
\t</source>
\t<size>
\t\t<width>200</width>
\t\t<height>200</height>
\t\t<depth>1</depth>
\t</size>
\t<segmented>0</segmented>
\t<object>
\t\t<name>crazing</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>1</truncated>
\t\t<difficult>0</difficult>
\t\t<bndbox>
\t\t\t<xmin>1</xmin>
\t\t\t<ymin>56</ymin>
\t\t\t<xmax>197</xmax>
\t\t\t<ymax>130</ymax>
\t\t</bndbox>
\t</object>
</annotation>
"""
LABELIMG = """<?xml version="1.0" encoding="utf-8"?>
<!-- drawn by hand --><annotation verified="yes"><folder>nio</folder><filename>Lötung 3.png
</filename><path>C:\\bilder\\Lötung 3.png</path><size><width>640</width><height>480</height>
<depth>3</depth></size><object><name>kalte Lötstelle</name><pose>Unspecified</pose>
<truncated>0</truncated><Difficult>0</Difficult><bndbox><xmin>10.5</xmin><ymin>2e1</ymin>
<xmax> 33.25 </xmax><ymax>+44</ymax></bndbox></object><object><bndbox><ymax>9</ymax><xmax>8</xmax>
<ymin>2</ymin><xmin>1</xmin></bndbox><name><![CDATA[void & <more>]]></name>
<difficult>yes</difficult><part><name>rand</name><bndbox><xmin>1</xmin></bndbox></part></object>
</annotation>"""
SOURCES = (
    NEU.encode(),
    LABELIMG.encode(),
    LABELIMG.replace("utf-8", "iso-8859-1").encode("iso-8859-1"),
    LABELIMG.replace("utf-8", "utf-16").encode("utf-16"),
    b"\xef\xbb\xbf" + NEU.replace("\n", "\r\n").encode(),
)
_NUMBERS = (
    *("1e308", "1e309", "-1e999", "9" * 400, "9" * 299, "0." + "0" * 500 + "1", "1e-400", "-0"),
    *("nan", "inf", "0x10", "1_0", "1,5", "\u0663", "\uff11\uff12", "\xbd", "1 2", "", " "),
    *("+-1", ".", "1.", ".5"),
)
_TOKENS = (
    *(b"<", b">", b"&", b"&amp;", b"&lt;", b"&nbsp;", b"&#0;", b"&#10;", b"&#x1F600;", b"]]>"),
    *(b"<![CDATA[", b"<!--", b"-->", b"<?x y?>", b"<!DOCTYPE a>", b"<object/>", b"<object>"),
    *(b"</object>", b"<size/>", b"\x00", b"\xff", b"\xc3", b"\x80", b"\r", b"\x1b", b'x:y="1"'),
    *(b"<x:name>a</x:name>", b' xmlns="urn:x"', b"\xed\xa0\x80", b"\xef\xbf\xbf", b"\xe2\x80\xa8"),
)
_BOMBS = (
    '<!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa">{levels}]>',
    '<!DOCTYPE annotation [<!ENTITY i "{large}">]>',
    '<!DOCTYPE annotation SYSTEM "file:///etc/passwd">',
    '<!DOCTYPE annotation [<!ENTITY i SYSTEM "file:///etc/hostname">]>',
    '<!DOCTYPE annotation [<!ENTITY % i SYSTEM "http://127.0.0.1:9/x"> %i;]>',
    '<!-- <!-- ?> --><!DOCTYPE annotation [<!ATTLIST object a CDATA "b">]>',
)


def _flip_bits(rng: random.Random, xml: bytes) -> bytes:
    changed = bytearray(xml)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        changed[rng.randrange(len(xml))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _delete(rng: random.Random, xml: bytes) -> bytes:
    at = rng.randrange(len(xml))
    return xml[:at] + xml[at + rng.choice((1, 2, 10, 80)) :]


def _duplicate(rng: random.Random, xml: bytes) -> bytes:
    start, end = sorted(rng.sample(range(len(xml)), 2))
    return xml[:end] + xml[start:end] * rng.choice((1, 1, 3)) + xml[end:]


def _insert(rng: random.Random, xml: bytes) -> bytes:
    at = rng.randrange(len(xml) + 1)
    return xml[:at] + rng.choice(_TOKENS) + xml[at:]


def _swap_tags(rng: random.Random, xml: bytes) -> bytes:
    tags = list(re.finditer(rb"</?[A-Za-z]+>", xml)) or list(re.finditer(rb".", xml, re.DOTALL))
    first, second = sorted(rng.sample(tags, 2), key=re.Match.start)
    between = xml[first.end() : second.start()]
    return xml[: first.start()] + second[0] + between + first[0] + xml[second.end() :]


def _rename_tag(rng: random.Random, xml: bytes) -> bytes:
    names = (b"name", b"bndbox", b"xmin", b"ymax", b"size", b"width", b"object", b"filename", b"x")
    old, new = rng.sample(names, 2)
    return xml.replace(b"<%b>" % old, b"<%b>" % new).replace(b"</%b>" % old, b"</%b>" % new)


def _drop_or_repeat_element(rng: random.Random, xml: bytes) -> bytes:
    elements = list(re.finditer(rb"<([A-Za-z]+)>[^<]*</\1>", xml))
    if not elements:
        return _delete(rng, xml)
    element = rng.choice(elements)
    return xml[: element.start()] + element[0] * rng.choice((0, 2)) + xml[element.end() :]


def _change_number(rng: random.Random, xml: bytes) -> bytes:
    numbers = list(re.finditer(rb">[ +]?[0-9][0-9.e]*<", xml))
    if not numbers:
        return _flip_bits(rng, xml)
    number = rng.choice(numbers)
    text = rng.choice((*_NUMBERS, str(rng.randrange(10**6)), f"{rng.uniform(-9, 999)!r}")).encode()
    return xml[: number.start() + 1] + text + xml[number.end() - 1 :]


def _cut(rng: random.Random, xml: bytes) -> bytes:
    return xml[: rng.randrange(len(xml))]


def _nest(rng: random.Random, xml: bytes) -> bytes:
    depth = rng.choice((3, 100, 255, 256, 300, 20_000))
    tag = rng.choice((b"a", b"object", b"part"))
    inner = b"<%b>" % tag * depth + b"</%b>" % tag * depth
    return xml.replace(b"<size>", inner + b"<size>", 1)


def _grow(rng: random.Random, xml: bytes) -> bytes:
    at = rng.choice([found.end() for found in re.finditer(rb">", xml)] or [0])
    text = rng.choice((b" ", b"0", b"x", b"<!---->", b"<?a b?>", b"&#48;"))
    return xml[:at] + text * rng.choice((1000, 100_000)) + xml[at:]


def _declare_encoding(rng: random.Random, xml: bytes) -> bytes:
    names = (b"utf-8", b"UTF-16", b"ascii", b"windows-1252", b"latin1", b"utf-7", b"koi8-r", b"no")
    body = re.sub(rb"^(\xef\xbb\xbf)?<\?xml.*?\?>", b"", xml)
    return b'<?xml version="1.0" encoding="%b"?>' % rng.choice(names) + body


def _recode(rng: random.Random, xml: bytes) -> bytes:
    name = rng.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "cp1252"))
    return rng.choice((NEU, LABELIMG)).encode(name)


def _plant_bomb(rng: random.Random, xml: bytes) -> bytes:
    levels = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in pairwise("abcdefghi"))
    bomb = rng.choice(_BOMBS).replace("{levels}", levels).replace("{large}", "x" * 100_000)
    use = rng.choice(("&i;", "&i;" * 1000, "", "&a;"))
    text = bomb + NEU.replace("crazing_78.jpg", use)
    prefix = rng.choice(("", "\n", "<?xml version='1.0'?>", "<!-- -->" * 1000, "<?a?>" * 1000))
    return _flip_bits(rng, (prefix + text).encode(rng.choice(("utf-8", "utf-8", "utf-16"))))


MUTATIONS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(_flip_bits, _delete, _duplicate, _insert, _swap_tags, _rename_tag, _drop_or_repeat_element),
    *(_change_number, _cut, _nest, _grow, _declare_encoding, _recode, _plant_bomb),
)
