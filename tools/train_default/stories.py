"""Reads TinyStories text files and turns each story into a training document.

Two layouts are understood: stories separated by a line <|endoftext|>, and
stories laid end to end, where a single newline (no blank line) before an
opening formula starts the next story.  A file in lower case is given its
capitals back: sentence starts, "I", and names learnt from cased files and from
"named x" within the story.
"""
import pathlib
import re
from collections import Counter

from lexicon import BOYS, GIRLS, DAYS, topics

OPENING = re.compile(
    r"(once|one |there (was|were|lived)|long ago|in a |it was |every |on a |a |two |the |"
    r"[a-z]+ (was|were|and|had|is|loved) )",
    re.I)
FIX = str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2026": "...",
    "\u00a0": " ", "\u00e9": "e"
})


def read(path):
    """The text of a file; of a .bin file, GPT-2 token ids in uint16, by vocab.json and merges.txt beside it."""
    path = pathlib.Path(path)
    if path.suffix != ".bin":
        return path.read_text(encoding="utf-8", errors="replace")
    import numpy as np
    from tokenizers import ByteLevelBPETokenizer
    tok = ByteLevelBPETokenizer(str(path.with_name("vocab.json")), str(path.with_name("merges.txt")))
    ids = np.fromfile(path, dtype="<u2")
    documents = np.split(ids, np.flatnonzero(ids == 50256))
    return "<|endoftext|>".join(tok.decode_batch([d[d != 50256].tolist() for d in documents]))


def split(text):
    """Story texts of one file, cleaned; cut or broken ones are left out."""
    text = text.replace("\r", "").translate(FIX)
    if "<|endoftext|>" in text:
        parts = text.split("<|endoftext|>")
    else:
        parts = []
        for chunk in re.split(r"(?<=[.!?\"])[ ]*\n(?=\S)", text):
            if parts and (len(parts[-1]) < 250 or not OPENING.match(chunk)):
                parts[-1] += "\n" + chunk
            else:
                parts.append(chunk)
    out = []
    for p in parts:
        p = re.sub(r"[ \t]+", " ", p.strip())
        p = re.sub(r" *\n\s*", "\n\n", p)
        p = re.sub(r"([,.!?])(?=[A-Za-z]{2})", r"\1 ", p)
        if 150 < len(p) < 2600 and p[-1] in '.!?"' and p.isascii():
            out.append(p)
    return out


class Truecase:
    """Gives capitals back to lower-case text, from counts over cased text."""
    def __init__(self, cased):
        upper, lower = Counter(), Counter()
        for s in cased:
            for m in re.finditer(r"(?<=[a-z,] )([A-Za-z]+)", s):
                w = m.group(1)
                (upper if w[0].isupper() else lower)[w.lower()] += 1
        self.names = {w for w in upper if upper[w] >= 3 and upper[w] > 2 * lower[w]}
        self.names |= {n.lower() for n in GIRLS + BOYS + DAYS} | {"i"}
        self.names -= {"daisy", "rose", "mark", "ruby", "ivy", "spot", "bill", "hope", "sky", "star", "bear", "fluffy"}

    def __call__(self, s):
        local = set(re.findall(r"(?:named|called|name was|name is) ([a-z]+)",
                               s)) - {"the", "a", "an", "his", "her", "out", "it"}
        names = self.names | local
        s = re.sub(r"\b[a-z]+\b", lambda m: m.group().capitalize() if m.group() in names else m.group(), s)
        return re.sub(r"(?:^|(?<=[.!?] )|(?<=[.!?]\" )|(?<=\n)|(?<=[ \n]\")|(?<=^\"))([a-z])",
                      lambda m: m.group(1).upper(), s)


NOT_ONLY_NAMES = {"Daisy", "Rose", "Mark", "Ruby", "Ivy", "Spot", "Bill", "Hope", "Sky", "Star", "Fluffy"}


def rename(story, rng):
    """The story with the names in it changed for others, mostly: what is said of a name must come from the story."""
    if rng.random() < 0.3:
        return story
    words, new = set(re.findall(r"[A-Z][a-z]+", story)), {}
    for names in (GIRLS, BOYS):
        old = [n for n in names if n in words and n not in NOT_ONLY_NAMES]
        free = [n for n in names if n not in words and n not in NOT_ONLY_NAMES]
        new.update(zip(old, rng.sample(free, min(len(old), len(free)))))
    return re.sub(r"\b[A-Z][a-z]+\b", lambda m: new.get(m.group(), m.group()), story)


def topic_of(story, rng, words=frozenset(topics())):
    """A word that the story is about (said at least twice, early), or None."""
    count = Counter(re.findall(r"[a-z]+", story.lower()))
    head = set(re.findall(r"[a-z]+", story[:300].lower()))
    found = sorted(w for w in words if count[w] >= 2 and w in head)
    return rng.choice(found) if found else None


def name_of(story):
    m = re.search(
        r"(girl|boy|dog|cat|bird|bear|rabbit|bunny|fish|mouse|frog|duck|man|woman|fox|lion) "
        r"(?:named|called) ([A-Z][a-z]+)",
        story[:200])
    return m.groups() if m else None
