"""Short English stories from a planner: a hero, a friend, a thing, a place and a plot.

A tale is planned first (who, what, where, which trouble, which way out) and
then told, one of several sentences for every beat, so that names, pronouns and
things stay the same from the first line to the last.  tale() also returns the
plan, from which the chat generator asks questions about the story.
"""
from dataclasses import dataclass

from lexicon import ANIMALS, BEINGS, BOYS, FOODS, GIRLS, PLACES, TOYS, COLOURS

KIND_ANIMALS = [
    a for a in ANIMALS if a not in ("ant", "spider", "crab", "crocodile", "snake", "whale", "fish", "dolphin")
]
GOOD = [
    "kind", "brave", "clever", "shy", "curious", "gentle", "cheerful", "playful", "quiet", "funny", "careful",
    "friendly"
]
SMALL = ["little", "small", "young", "tiny", "", "", "big"]
CRAFTS = {
    "kite": ("paper and string", "flew high in the sky"), "boat": ("wood and a leaf", "floated on the water"),
    "cake": ("flour, eggs and honey", "smelled sweet and warm"), "nest": ("grass and soft feathers",
                                                                          "was warm and safe"),
    "bridge": ("stones and long branches", "stood over the water"), "scarf": ("soft red wool", "was long and warm"),
    "lamp": ("glass and a candle", "shone in the dark"), "swing": ("rope and an old board", "went up and down"),
    "pie": ("apples and berries", "smelled good"), "snowman": ("snow, a carrot and a hat", "looked very funny"),
    "drum": ("a box and two sticks", "made a loud sound"), "necklace": ("shells and string", "was very pretty")
}


@dataclass
class Who:
    name: str
    kind: str  # "dog", "girl", "dragon"
    he: str
    him: str
    his: str
    trait: str

    @property
    def the(self):
        return self.name


def article(text):
    return ("an " if text[0] in "aeiou" else "a ") + text


def person(rng, kind=None, avoid=""):
    if kind is None:
        r = rng.random()
        kind = rng.choice(["girl", "boy"]) if r < 0.4 else rng.choice(KIND_ANIMALS) if r < 0.85 else rng.choice(BEINGS)
    female = kind in ("girl", "queen", "princess", "fairy", "witch", "mermaid", "hen", "cow")
    male = kind in ("boy", "king", "prince", "wizard", "snowman")
    if not female and not male:
        female = rng.random() < 0.5
    names = [n for n in (GIRLS if female else BOYS) if n != avoid]
    he = ("she", "her", "her") if female else ("he", "him", "his")
    return Who(rng.choice(names), kind, *he, rng.choice(GOOD))


def at(place):
    """'in the forest', 'at the lake', 'on the hill'."""
    where = {
        "hill": "on", "mountain": "on", "island": "on", "farm": "on", "river": "by", "lake": "by", "pond": "by",
        "beach": "on", "market": "at", "school": "at", "zoo": "at", "bakery": "at", "library": "at", "playground": "at"
    }
    return f"{where.get(place, 'in')} the {place}"


def cap(s):
    return s[0].upper() + s[1:]


def intro(p, place, rng):
    size = rng.choice(SMALL)
    who = " ".join(w for w in (size, p.kind) if w)
    live = {
        "girl": "in a small house", "boy": "in a small house", "mermaid": "in the sea", "king": "in a castle",
        "queen": "in a castle", "fish": "in the water"
    }.get(p.kind, rng.choice(["near the " + place, "by the " + place, "in a small house", "next to the " + place]))
    first = rng.choice([
        f"Once upon a time, there was {article(who)} named {p.name}.",
        f"Once upon a time, {article(who)} named {p.name} lived {live}.",
        f"There once was {article(p.trait + ' ' + p.kind)} named {p.name}.",
        f"{p.name} was {article(p.trait + ' ' + p.kind)}.",
        f"Long ago, there lived {article(who)} called {p.name}.",
        f"In a quiet village, there lived {article(who)} named {p.name}.",
    ])
    trait = p.trait if p.trait not in first else rng.choice([g for g in GOOD if g != p.trait])
    second = rng.choice([
        f"{cap(p.he)} had many friends.", f"{cap(p.he)} was very {trait}.", f"{cap(p.he)} liked to play {at(place)}.",
        f"Every day, {p.he} went to the {place}.", f"Everyone knew that {p.name} was {trait}.",
        f"{cap(p.he)} loved the {place}.", ""
    ])
    return first + (" " + second if second else "")


def morning(p, place, rng):
    day = rng.choice([
        "One day", "One sunny day", "One morning", "One cold morning", "One rainy day", "One windy day",
        "One afternoon", "One warm day"
    ])
    return rng.choice([
        f"{day}, {p.name} went to the {place}.", f"{day}, {p.name} walked to the {place}.",
        f"{day}, {p.name} was playing {at(place)}.", f"{day}, {p.name} was alone {at(place)}."
    ])


def meet(p, q, rng):
    return rng.choice([
        f"There {p.he} met {article(q.kind)} named {q.name}.",
        f"On the way, {p.he} saw {article(q.kind)}. {cap(q.his)} name was {q.name}.",
        f"{cap(article(q.kind))} named {q.name} came by.", f"Then {article(q.kind)} named {q.name} came along."
    ])


def ending(p, q, rng, lesson):
    close = rng.choice([
        f"From that day on, {p.name} and {q.name} were best friends.",
        f"{p.name} and {q.name} played together until the sun went down.", f"{p.name} went home with a big smile.",
        f"That night, {p.name} slept well and had sweet dreams.", f"They both laughed and went home together.",
        f"{p.name} was very happy, and {q.name} was happy too."
    ])
    moral = rng.choice(
        ["", "", f" {p.name} had learned that {lesson}.", f" {cap(p.he)} knew now that {lesson}.", " The end."])
    return close + moral


def say(p, text, rng):
    verb = rng.choice(["said", "asked", "asked"]) if text.endswith("?") else rng.choice(
        ["said", "said", "said", "cried" if text[-1] == "!" else "said"])
    if text.endswith("."):
        return f'"{text[:-1]}," {verb} {p.name}.'
    return f'"{text}" {verb} {p.name}.'


def lost(p, q, thing, place, rng):
    where = rng.choice([
        "under a bush", "behind a big rock", "under the bench", "in a tree", "in the tall grass",
        "next to the old gate", "behind the door"
    ])
    body = [
        f"{p.name} had {article(thing)} that {p.he} loved very much. " +
        rng.choice([f"It was a gift from {p.his} grandma.", f"{cap(p.he)} took it everywhere.",
                    f"It was {p.his} best thing."]),
        morning(p, place, rng) + " " + rng.choice([
            f"But when {p.he} looked down, the {thing} was gone!",
            f"Then {p.he} saw that {p.his} {thing} was not there.", f"Suddenly, {p.he} could not find {p.his} {thing}."
        ]) + " " + rng.choice([
            f"{p.name} was very sad.", f"{p.name} began to cry.",
            f"{cap(p.he)} looked here and there, but {p.he} could not see it.", f"{p.name} felt worried."
        ]),
        meet(p, q, rng) + " " +
        say(q, rng.choice(["Why are you sad?", "What is wrong?", "Can I help you?", "What are you looking for?"]), rng)
        + " " + say(p, rng.choice([f"I lost my {thing}.", f"I cannot find my {thing}.", f"My {thing} is gone."]), rng) +
        " " + say(
            q,
            rng.choice([
                "Do not worry. I will help you.", "Let us look for it together.",
                "I have good eyes. I will help you look."
            ]), rng),
        rng.choice(["They looked and looked.", f"They looked all over the {place}.", "They looked everywhere."]) + " " +
        rng.choice([
            f"At last, {q.name} saw something {where}. It was the {thing}!",
            f"Then {q.name} found the {thing} {where}.", f"Finally, they found the {thing} {where}!"
        ]) + " " + say(p, rng.choice(["Thank you so much!", f"Thank you, {q.name}!", "You are a good friend!"]), rng) +
        " " + ending(p, q, rng, "friends help each other"),
    ]
    return body, f"{p.name} lost {p.his} {thing} and {q.name} helped to find it", where


def share(p, q, food, place, rng):
    plural = {
        "berry": "berries", "cherry": "cherries", "potato": "potatoes", "sandwich": "sandwiches", "peach": "peaches"
    }.get(food, food + "s")
    some = f"some {food}" if food in ("bread", "soup", "honey", "cheese", "milk", "corn",
                                      "rice") else rng.choice([article(food), f"a basket of {plural}"])
    it = "them" if "basket" in some else "it"
    body = [
        morning(p, place, rng) + f" {cap(p.he)} had {some} for lunch. " +
        rng.choice([f"{cap(p.he)} was very hungry.", f"{cap(p.he)} sat down under a tree to eat."]),
        meet(p, q, rng) + f" {q.name} looked " + rng.choice(["hungry", "tired and hungry", "sad"]) + ". " +
        say(q, rng.choice(["I have nothing to eat.", "I am so hungry.", "I did not have lunch today."]), rng),
        rng.choice([
            f"At first, {p.name} did not want to share.", f"{p.name} thought for a moment.",
            f"{p.name} looked at the food and then at {q.name}."
        ]) + " " + rng.choice([f"But then {p.he} smiled.", f"Then {p.he} felt sorry for {q.name}."]) + " " +
        say(p, rng.choice(["You can have half.", f"Let us share {it}.", "Come and eat with me."]), rng),
        rng.choice([
            "They ate together and talked all day.", f"They sat together {at(place)} and ate.",
            "The food tasted even better with a friend."
        ]) + " " +
        say(q,
            rng.choice(["Thank you! You are very kind.", "You are a good friend.", "Next time I will share with you."]),
            rng) + " " + ending(p, q, rng, "it is good to share"),
    ]
    return body, f"{p.name} shared {p.his} food with {q.name}", None


def build(p, q, thing, place, rng):
    made, act = CRAFTS[thing]
    problem = rng.choice(
        [f"the {thing} fell apart", "it was too hard to do alone", "something was missing", "it did not work at all"])
    body = [
        f"{p.name} wanted to make {article(thing)}. {cap(p.he)} needed {made}. " +
        rng.choice([f"{cap(p.he)} looked for them {at(place)}.", f"{cap(p.he)} found all of it {at(place)}."]),
        rng.choice([f"{p.name} worked all morning, but {problem}.", f"{cap(p.he)} tried and tried, but {problem}."]) +
        " " +
        rng.choice([f"{p.name} was angry and wanted to stop.", f"{p.name} was sad.", f"{p.name} sat down and sighed."]),
        meet(p, q, rng) + " " +
        say(q, rng.choice(["Do not give up. Let us try again.", "We can do it together.", "I know how to help you."]),
            rng) + " " + say(p, rng.choice(["Thank you!", "That is a good idea!", "Yes, please!"]), rng),
        rng.choice([
            "They worked slowly and with care.", "This time they did it step by step.",
            "They helped each other and laughed a lot."
        ]) + f" Soon the {thing} was ready. It {act}. " +
        say(p, rng.choice(["We did it!", "Look, it works!", f"This is the best {thing} ever!"]), rng) + " " +
        ending(p, q, rng, rng.choice(["it is good to try again", "hard work is easier with a friend"])),
    ]
    return body, f"{p.name} and {q.name} made {article(thing)} together", None


def fear(p, q, place, rng):
    what, real = rng.choice([("a strange sound", f"only {q.name}, {article(q.kind)} who was singing"),
                             ("a dark shadow", f"only {q.name}, {article(q.kind)} with a big hat"),
                             ("two bright eyes", f"only {q.name}, a friendly {q.kind}"),
                             ("something big behind a tree", f"only {q.name}, {article(q.kind)} who was lost")])
    body = [
        rng.choice([
            f"{p.name} was afraid of the dark.", f"{p.name} wanted to be brave, but {p.he} was often scared.",
            f"{p.name} did not like to be alone at night."
        ]),
        rng.choice(["One evening", "One night", "One dark evening"]) +
        f", {p.name} had to walk home past the {place}. Suddenly, there was {what}! " +
        rng.choice([f"{p.name} wanted to run away.", f"{cap(p.his)} heart beat fast.", f"{p.name} was very scared."]),
        rng.choice([
            f"But {p.name} took a deep breath.", f"Then {p.he} thought, \"I can be brave.\"",
            f"{cap(p.he)} stood still and counted to three."
        ]) + " " + say(p, rng.choice(["Who is there?", "Hello? Who are you?"]), rng) + f" It was {real}! " +
        say(q, rng.choice(
            ["Hello! I did not want to scare you.", "I am sorry that I scared you.", "Can we be friends?"]), rng),
        rng.choice([f"{p.name} laughed.", f"{p.name} felt much better.", f"{p.name} was not afraid anymore."]) +
        f" {q.name} walked home with {p.him}. " +
        ending(p, q, rng,
               rng.choice(["being brave means to try even when you are afraid", "not everything in the dark is bad"])),
    ]
    return body, f"{p.name} was scared, but it was only {q.name}", None


def rescue(p, q, place, rng):
    trouble, fix = rng.choice([("was stuck in a deep hole", "found a long rope and pulled"),
                               ("had hurt one leg", "made a soft bed of leaves and brought water"),
                               ("could not get down from a tall tree", "found a ladder and put it next to the tree"),
                               ("had fallen into the water", "held out a long branch"),
                               ("was stuck in the mud", "pushed and pulled with all " + p.his + " strength"),
                               ("had lost the way home", "climbed up a hill and saw the right road")])
    body = [
        morning(p, place, rng) + " " +
        rng.choice(["Suddenly, someone called for help.", f"Then {p.he} heard a small voice. \"Help! Help!\""]),
        f"It was {article(q.kind)} named {q.name}. {q.name} {trouble}. " +
        say(q, rng.choice(["Please help me!", "I am so scared!", "I do not know what to do!"]), rng) + " " + say(
            p,
            rng.choice([
                "Do not be afraid. I will help you.", "Wait here. I have an idea.", "I will not leave you alone."
            ]), rng),
        f"{p.name} {fix}. " +
        rng.choice(["It was hard work, but it helped.", "It took a long time.", f"{p.name} did not give up."]) +
        f" At last, {q.name} was safe.",
        say(q, rng.choice(["You saved me! Thank you!", "You are so brave!", "How can I thank you?"]), rng) + " " +
        say(p, rng.choice(["I am glad that you are safe.", "That is what friends do.", "Let us be friends."]), rng) +
        " " + ending(p, q, rng, "it feels good to help others"),
    ]
    return body, f"{p.name} helped {q.name}, who {trouble}", None


def wish(p, q, thing, place, rng):
    colour = rng.choice(COLOURS)
    ask = rng.choice([
        "find three white stones", "say please and thank you", "help someone today", "wait until the sun goes down",
        "sing a song"
    ])
    body = [
        morning(p, place, rng) + f" In the grass, {p.he} found {article(colour + ' ' + thing)}. " + rng.choice([
            f"{p.name} picked it up.", "It was shiny and warm.", f"{p.name} had never seen {article(thing)} like that."
        ]),
        meet(p, q, rng) + " " +
        say(q, rng.choice([f"That {thing} is magic.", f"Be careful. This {thing} is magic."]), rng) + " " +
        say(q, f"You must {ask}, and then you can make one wish.", rng),
        f"{p.name} did what {q.name} said. Then {p.he} closed {p.his} eyes and made a wish. " + rng.choice([
            f"{cap(p.he)} wished for a friend.", f"{cap(p.he)} wished that {p.his} mom would be happy.",
            f"{cap(p.he)} wished for rain for the dry flowers.", f"{cap(p.he)} wished that nobody would be hungry."
        ]),
        rng.choice([f"The {colour} {thing} began to shine.", f"There was a soft light, and the {thing} was gone."]) +
        " " + rng.choice(["And the wish came true!", f"{p.name} looked around, and the wish had come true."]) + " " +
        ending(p, q, rng, rng.choice(["the best wishes are for others", "good things come to those who are kind"])),
    ]
    return body, f"{p.name} found {article(colour + ' ' + thing)} and made a wish", None


def sorry(p, q, thing, place, rng):
    body = [
        f"{q.name} was {p.his} friend. {q.name} was {article(q.kind)} and had {article('new ' + thing)}. " +
        morning(p, place, rng) + f" {p.name} saw the {thing} and wanted to play with it.",
        f"{p.name} took the {thing} without asking. " +
        rng.choice([f"Then it fell down and broke.", f"Then {p.he} dropped it, and it broke."]) + " " +
        rng.choice([f"{p.name} was scared and hid the {thing}.", f"{p.name} did not know what to do."]),
        f"{q.name} came and looked for the {thing}. " + say(q, f"Do you know where my {thing} is?", rng) +
        f" {p.name} felt bad. {cap(p.he)} decided to tell the truth. " +
        say(p, f"I broke your {thing}. I am very sorry.", rng),
        f"{q.name} was sad, but then {q.he} smiled. " +
        say(q, rng.choice(["Thank you for telling the truth.", "It is okay. We can fix it together."]), rng) +
        f" They fixed the {thing} together. " + ending(p, q, rng, "it is best to tell the truth"),
    ]
    return body, f"{p.name} broke the {thing} and said sorry to {q.name}", None


def tale(rng, topic=None):
    """(text, plan): plan has hero, friend, place, thing, gist and, for a lost thing, where it was."""
    kind = topic if topic in KIND_ANIMALS or topic in BEINGS or topic in ("girl", "boy") else None
    p = person(rng, kind)
    q = person(rng, avoid=p.name)
    while q.kind == p.kind or q.name == p.name:
        q = person(rng, avoid=p.name)
    place = topic if topic in PLACES else rng.choice(PLACES)
    if topic in CRAFTS:
        plot, thing = build, topic
    elif topic in TOYS:
        plot, thing = rng.choice([lost, wish, sorry]), topic
    elif topic in FOODS:
        plot, thing = share, topic
    else:
        plot = rng.choice([lost, share, build, fear, rescue, wish, sorry])
        thing = rng.choice(FOODS if plot is share else sorted(CRAFTS) if plot is build else TOYS)
    args = (p, q, place, rng) if plot in (fear, rescue) else (p, q, thing, place, rng)
    body, gist, where = plot(*args)
    start = intro(p, place, rng)
    if rng.random() < 0.5:
        body[0] = start + " " + body[0]
    else:
        body.insert(0, start)
    plan = dict(hero=p, friend=q, place=place, thing=None if plot in (fear, rescue) else thing, gist=gist, where=where)
    return "\n\n".join(body), plan
