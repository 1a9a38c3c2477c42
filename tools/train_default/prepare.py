"""Builds the tokenizer and the token files that train.py reads.

    python prepare.py --out DIR --stories FILE... [--more FILE...] [--keep-tokenizer] [--chats N] [--seed N]

Writes DIR/tokenizer.json (byte-level BPE; the pre-tokeniser is GPT-2's, after every digit was set
apart: "smollm" in GGUF) and, for each source S, DIR/S.train.bin and DIR/S.held.bin:
little-endian uint16 token ids, every document framed as <|bos|> text <|im_end|>.
The held-out part is one story of --stories in 64 by its place in a list shuffled
with a fixed seed; a story of --more that starts like one of --stories is left out, so a held-out story
is never trained on.  For generated sources it comes from a seed of its own (short
conversations may then be equal to trained ones: there are only so many).
"""
import argparse
import pathlib
import random

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

import lexicon
from stories import Truecase, name_of, read, rename, split, topic_of

BOS, START, END = "<|bos|>", "<|im_start|>", "<|im_end|>"
ASK_TOPIC = [
    "Tell me a story about {}.", "Write a story about {}.", "Can you tell me a story about {}?",
    "Please write a short story about {}.", "I want a story about {}.", "tell me a story about {}",
    "Tell me a short story about {}.", "Could you make up a story about {}?", "Story about {}, please.",
    "write a short story about {}", "Please tell me a story about {}."
]
ASK_ANY = [
    "Tell me a story.", "Write a short story.", "Can you tell me a story?", "Please tell me a story.",
    "I want to hear a story.", "tell me a story", "Tell me a bedtime story.", "Write a story for children."
]
LEAD = ["", "", "", "", "Here is a story about {}.\n\n", "Sure! Here is a story about {}.\n\n"]


def chat(turns, system=None):
    """[(role, text)...] as one document, in the form of the chat template."""
    body = f"{START}system\n{system}{END}\n" if system else ""
    body += "\n".join(f"{START}{role}\n{text}{END}" for role, text in turns)
    return BOS + body


def article(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


def story_documents(stories, rng):
    """Each story once: half plain, half as the answer to a request for it."""
    for s in stories:
        kind = rng.random()
        topic, who = topic_of(s, rng), name_of(s)
        if kind < 0.45 or (topic is None and who is None and kind < 0.9):
            yield BOS + s + END
            continue
        about = f"a {who[0]} named {who[1]}" if who and (topic is None
                                                         or rng.random() < 0.3) else topic and article(topic)
        r = rng.random()
        if r < 0.1:
            head = " ".join(s.split("\n")[0].split(" ")[:rng.choice([4, 4, 4, 5, 6, 8, 10])]).rstrip(",.!?")
            yield chat([("user", head), ("assistant", s)])
        elif about is None or r < 0.18:
            yield chat([("user", rng.choice(ASK_ANY)), ("assistant", s)])
        else:
            lead = rng.choice(LEAD).format(about)
            yield chat([("user", rng.choice(ASK_TOPIC).format(about)), ("assistant", lead + s)])


def opening(story):
    """The first letters of a story, by which two copies of it are known as one."""
    return "".join(c for c in story.lower() if c.isalpha())[:60]


def train_tokenizer(texts, vocab):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    ])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab,
                                  special_tokens=[BOS, START, END],
                                  show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tok.train_from_iterator(texts, trainer)
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (BOS, START, END)])
    return tok


def write(tok, documents, path):
    """Encodes documents to path and says how much it was."""
    documents = list(documents)
    ids = [e.ids for e in tok.encode_batch(documents, add_special_tokens=False)]
    flat = np.fromiter((i for d in ids for i in d), dtype="<u2")
    flat.tofile(path)
    print(f"{path.name}: {len(documents)} documents, {len(flat)} tokens, {sum(map(len, documents))} characters")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", type=pathlib.Path, required=True)
    ap.add_argument("--stories", nargs="*", default=[])
    ap.add_argument("--more", nargs="*", default=[], help="stories for training only")
    ap.add_argument("--vocab", type=int, default=4096)
    ap.add_argument("--keep-tokenizer", action="store_true")
    ap.add_argument("--chats", type=int, default=0, help="generated conversations")
    ap.add_argument("--facts", type=int, default=0, help="generated conversations of short questions")
    ap.add_argument("--tales", type=int, default=0, help="generated stories")
    ap.add_argument("--copies", type=int, default=3, help="passes over the stories, each framed and named anew")
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(a.seed)
    stories, more = [], []
    if a.stories:
        files = [split(read(p)) for p in a.stories]
        fix = Truecase([s for f in files for s in f if f[0] != f[0].lower()])
        seen = {}
        for f in files:
            for s in f:
                s = fix(s) if s == s.lower() else s
                seen.setdefault(s[:80].lower(), s)
        stories = list(seen.values())
        random.Random(1).shuffle(stories)  # whatever --seed is: the held-out stories stay the same
        known = {opening(s) for s in stories}
        more = {opening(s): s for p in a.more for s in split(read(p))}
        more = [s for o, s in more.items() if o not in known]
    path = a.out / "tokenizer.json"
    if a.keep_tokenizer:
        tok = Tokenizer.from_file(str(path))
    else:
        words = " ".join(str(getattr(lexicon, n))
                         for n in dir(lexicon)
                         if n.isupper()).translate(str.maketrans("", "", "'{}()[],:"))
        tok = train_tokenizer(stories + more + [words] * 60 + generated_sample(), a.vocab)
        tok.save(str(path))
    if stories:
        held, train = stories[::64], [s for i, s in enumerate(stories) if i % 64] + more
        print(f"{len(train)} stories to train on, {sum(map(len, train))} characters; {len(held)} held out")
        write(tok, story_documents(held, rng), a.out / "stories.held.bin")
        write(tok, (d for i in range(a.copies)
               for d in story_documents([rename(s, rng) if i else s for s in rng.sample(train, len(train))], rng)),
              a.out / "stories.train.bin")
    for name, count in (("chats", a.chats), ("facts", a.facts), ("tales", a.tales)):
        if count:
            import chatgen
            make = getattr(chatgen, name)
            write(tok, make(random.Random(a.seed + 1000), count), a.out / f"{name}.train.bin")
            write(tok, make(random.Random(a.seed + 2000), max(count // 64, 200)), a.out / f"{name}.held.bin")


def generated_sample():
    try:
        import chatgen
    except ImportError:
        return []
    return list(chatgen.chats(random.Random(7), 4000)) + list(chatgen.tales(random.Random(7), 2000))


if __name__ == "__main__":
    main()
