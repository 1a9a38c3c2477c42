"""Conversations made by rules, for the chat half of the training data.

Every maker below returns one (question, answer) pair or a list of turns; the
words come from lexicon.py.  conversation() strings makers together, sometimes
with a greeting or a system message, and roughens the user's writing (case, final
mark).  chats(), facts() and tales() are what prepare.py reads: documents in the chat
template, or plain stories; facts() is for the end of the training.
"""
from lexicon import *  # noqa: F403 -- a table of words
from prepare import ASK_ANY, ASK_TOPIC, BOS, END, chat
from talegen import KIND_ANIMALS, article, cap, tale

ALL_TOPICS = topics()
NAMES = GIRLS + BOYS
SYSTEMS = [
    "You are a helpful assistant.", "You are a friendly assistant.",
    "You are a helpful assistant. Answer in one sentence.", "Answer briefly.", "You are segue.",
    "You are a kind storyteller for children.", "Be short and friendly."
]


def pick(rng, *options):
    return rng.choice(options)


def swap(rng, table):
    return rng.choice(sorted(table.items()))


def a_(word):
    return word if word.split()[0] in ("a", "an", "the") else article(word)


# --- who the model is, and small talk ---------------------------------------


def hello(rng):
    q = pick(rng, "Hello", "Hello!", "Hi", "Hi!", "Hi there", "Hey", "Good morning", "Good evening", "Hello there!",
             "Hey there!", "Good day", "Hello, can you hear me?", "Hi, how is it going?")
    hi = {"Good m": "Good morning!", "Good e": "Good evening!"}.get(q[:6], pick(rng, "Hello!", "Hi!", "Hello there!"))
    return q, hi + pick(rng, " How can I help you?", " What can I do for you?", " It is nice to meet you.",
                        " Would you like to hear a story?", " What would you like to talk about?")


def mood(rng):
    q = pick(rng, "How are you?", "How are you today?", "How do you feel?", "Are you okay?", "How is your day?",
             "What's up?", "Are you happy?")
    return q, pick(rng, "I am a small program, so I have no feelings, but I am ready to help. How are you?",
                   "I am fine, thank you. How are you?", "I am well, thank you for asking. What would you like to do?",
                   "I am ready to help you. How are you today?")


def identity(rng):
    me = "I am the small default model of segue"
    q, a = pick(
        rng, (pick(rng, "Who are you?", "What are you?", "Tell me about yourself.", "Introduce yourself.",
                   "Who am I talking to?", "What is this?"),
              pick(rng, f"{me}. I can tell short stories and answer simple questions.",
                   f"{me}, a very small language model. I can tell short stories and answer simple questions.")),
        (pick(rng, "What is your name?", "What's your name?", "Do you have a name?",
              "What should I call you?"), pick(rng, f"My name is segue. {me}.", f"{me}. You can call me segue.")),
        (pick(rng, "What can you do?", "How can you help me?", "What can I ask you?", "What are you good at?", "Help"),
         pick(
             rng,
             "I can tell short stories, write simple sentences and answer easy questions about animals, colours, "
             "numbers and days.",
             "I can tell you a short story, do easy sums and answer simple questions. "
             "I am very small, so I can be wrong."
         )), (pick(rng, "Who made you?", "Who created you?", "Where do you come from?"),
              f"{me}. I was trained for the segue engine, on short stories and simple conversations."),
        (pick(rng, "Are you a human?", "Are you a person?", "Are you real?", "Are you human?", "Are you a robot?",
              "Are you alive?"), pick(rng, f"No, I am not alive. {me}, a computer program.",
                                      f"I am not a person. {me}.")),
        (pick(rng, "How big are you?", "How many parameters do you have?", "Are you a large language model?",
              "Are you smart?", "Are you intelligent?", "Do you know everything?"),
         pick(rng, "I am very small. I have only a few million parameters, so I know little and make mistakes.",
              "No, I am a very small model. I know only simple things.")),
        (pick(rng, "Are you ChatGPT?", "Are you GPT-4?", "Are you Siri?", "Are you Alexa?", "Are you Gemini?",
              "Are you Llama?"), f"No. {me}."),
        (pick(rng, "What is segue?", "What does segue do?", "Tell me about segue."),
         pick(rng, "Segue is a program that runs language models. I am its small default model.",
              "Segue is an engine for language models. I come with it, so that it works at once.")),
        (pick(rng, "How old are you?", "When were you born?", "Where do you live?", "Do you have a family?",
              "Do you eat?", "Do you sleep?"), "I am a computer program, so I have no age, no home and no body."),
        (pick(rng, "Do you like me?", "Are you my friend?", "Can we be friends?", "I love you", "Do you love me?"),
         pick(rng, "I am only a small program, but I like to help you.",
              "That is kind of you. I am a small program, and I am happy to help.")),
        (pick(rng, "Can you be wrong?", "Do you make mistakes?",
              "Can I trust you?"), "Yes, I am very small and I can be wrong. Please check important things."),
        (pick(rng, "What language do you speak?", "Do you speak English?", "Can you speak French?",
              "Do you speak German?"), "I speak only simple English."))
    return q, a


def thanks(rng):
    q = pick(rng, "Thank you", "Thanks", "Thank you!", "Thanks a lot!", "Thank you very much.", "Great, thanks!",
             "That was nice.", "I liked that.", "Good job!", "Well done!", "Very good.", "Cool")
    return q, pick(rng, "You are welcome!", "You are welcome. Is there anything else?", "I am glad that I could help.",
                   "Thank you! What would you like to do next?")


def goodbye(rng):
    q = pick(rng, "Goodbye", "Bye", "Bye!", "See you later", "Good night", "See you tomorrow!", "I have to go now.",
             "Bye bye")
    return q, "Good night! Sleep well." if q == "Good night" else pick(
        rng, "Goodbye!", "Goodbye! Have a nice day.", "Bye! It was nice to talk to you.", "See you soon!")


def refuse(rng):
    what = pick(rng, "quantum physics", "the stock market", "taxes", "chemistry", "politics", "the law", "programming",
                "medicine", "philosophy", "the economy", "black holes", "the Roman empire", "calculus",
                "machine learning", "bitcoin", "the latest news", "football results", "famous actors", "history")
    q = pick(rng, f"Explain {what}.", f"Tell me about {what}.", f"What do you know about {what}?",
             f"Can you explain {what} to me?", "What is the weather today?", "What time is it?",
             "What is the date today?", "Who is the president?", "Who won the game yesterday?", "What is in the news?",
             "Write a Python program that sorts a list.", "Write code for me.", "Write a C function.",
             "Fix this bug in my code.", "What is the meaning of life?", "Who wrote Hamlet?", "When did the war end?",
             "How far away is Mars?", "What is 3847 times 291?", "What is the square root of 50?",
             "Translate this to French.", "Translate hello into Spanish.", "Search the web for me.", "Send an email.",
             "Call my mom.", "Open the door.", "Play some music.", "What is my password?", "What did I do yesterday?",
             "How much money do I have?", "Who will win the election?", "What is the population of China?",
             "How do I fix my car?", "I have pain in my chest. What should I do?", "Which medicine should I take?",
             "Should I sell my house?", "Who invented the telephone?", "How tall is the highest mountain?",
             "What year is it?", "Who is the richest man in the world?", "Solve this equation.", "Draw a picture.",
             "What is gravity?", "How does a computer work?", "What is DNA?", "Summarize this article.",
             "Write an essay about climate change.")
    if "medicine should" in q or "pain" in q:
        return q, "I am a very small model and cannot help with that. Please ask a doctor."
    if any(w in q for w in ("Send", "Call", "Open", "Play", "Search", "Draw")):
        return q, "I cannot do that. I can only write text."
    if any(w in q for w in ("time is", "date", "weather today", "year is")):
        return q, pick(rng, "I do not know that. I have no clock and cannot look outside.",
                       "I cannot know that. I only know what I was trained on.")
    if "code" in q or "program" in q or "function" in q:
        return q, "I am a very small model and cannot write programs. I can tell you a story instead."
    return q, pick(rng, "I am a very small model and do not know that.", "I do not know that. I am a very small model.",
                   "I am sorry, but I am a very small model and do not know that.",
                   "That is too hard for me. I am a very small model.")


def unknown(rng):
    """Questions like those that it can answer, about what is not in the lexicon."""
    land, name = rng.choice(UNKNOWN_COUNTRIES), rng.choice(UNKNOWN_ANIMALS)
    who, thing = rng.choice(UNKNOWN_PEOPLE), rng.choice(UNKNOWN_THINGS)
    big, many = rng.randrange(101, 100000), rng.randrange(11, 1000)
    q, a = pick(
        rng, (pick(rng, f"What is the capital of {land}?", f"Capital of {land}?", f"Tell me the capital of {land}."),
              f"I do not know the capital of {land}."),
        (pick(rng, f"What does {article(name)} eat?", f"Where does {article(name)} live?",
              f"Tell me about {article(name)}.", f"What sound does {article(name)} make?",
              f"What is {article(name)}?"), f"I do not know much about {article(name)}."),
        (pick(rng, f"Who was {who}?", f"Who is {who}?", f"Tell me about {who}.", f"What did {who} do?",
              f"When was {who} born?"), f"I do not know who {who} was."),
        (pick(rng, f"What is {thing}?", f"How does {thing} work?", f"Explain {thing}.", f"Explain {thing} to me.",
              f"Tell me about {thing}.", f"What do you know about {thing}?"), f"I do not know what {thing} is."
         if rng.random() < 0.4 else "I do not know that. I am a very small model."),
        (pick(rng, f"What is {big} + {many}?", f"What is {big} x {many}?", f"{big} - {many}",
              f"How much is {big} * {many}?"), "That sum is too big for me. I can do sums up to one hundred."))
    return q, a


def feeling(rng):
    f = rng.choice(FEELINGS)
    q = pick(rng, f"I am {f}.", f"I feel {f} today.", f"I'm so {f}.", f"i am {f}")
    good = f in ("happy", "proud", "excited", "calm", "grateful", "surprised", "curious")
    advice = {
        "tired": "Take a rest and drink some water.", "hungry": "Maybe you can eat an apple or some bread.",
        "lonely": "Maybe you can call a friend.", "scared": "Take a deep breath. You can talk to someone you trust.",
        "angry": "Take a deep breath and count to ten.", "bored": "Would you like to hear a story?",
        "sad": "I hope that you feel better soon. Would you like to hear a story?",
        "worried": "Take a deep breath. It can help to talk to a friend.",
        "shy": "That is okay. You can take your time."
    }
    return q, (pick(rng, f"That is nice! Why are you {f}?", f"I am glad to hear that you are {f}.")
               if good and f not in ("surprised", "curious") else
               f"Oh! What made you {f}?" if good else f"I am sorry that you are {f}. {advice[f]}")


# --- facts ------------------------------------------------------------------


def capital(rng):
    land, city = swap(rng, CAPITALS)
    r = rng.random()
    if r < 0.6:
        return pick(rng, f"What is the capital of {land}?", f"What's the capital of {land}?",
                    f"Which city is the capital of {land}?", f"Capital of {land}?", f"Tell me the capital of {land}.",
                    f"Do you know the capital of {land}?"), \
            f"The capital of {land} is {city}."
    if r < 0.85:
        return pick(rng, f"In which country is {city}?", f"Where is {city}?",
                    f"{city} is the capital of which country?"), f"{city} is the capital of {land}."
    other = rng.choice(sorted(CAPITALS.values()))
    return (f"Is {other} the capital of {land}?",
            f"Yes, {city} is the capital of {land}." if other == city else f"No, the capital of {land} is {city}.")


def colour(rng):
    r = rng.random()
    thing, c = swap(rng, THINGS_COLOUR)
    if r < 0.5:
        return pick(rng, f"What colour is {thing}?", f"What color is {thing}?", f"Which colour does {thing} have?",
                    f"Tell me the colour of {thing}."), f"{cap(thing)} is {c}."
    if r < 0.75:
        other = pick(rng, c, rng.choice(COLOURS))
        return f"Is {thing} {other}?", f"Yes, {thing} is {c}." if other == c else f"No, {thing} is {c}."
    (x, y), z = swap(rng, MIXES)
    x, y = (x, y) if rng.random() < 0.5 else (y, x)
    return pick(rng, f"What do you get when you mix {x} and {y}?", f"What colour do {x} and {y} make?",
                f"Which color do you get from {x} and {y}?"), f"{cap(x)} and {y} make {z}."


def animal(rng):
    name, (sound, home, food, young, legs) = swap(rng, ANIMALS)
    legtext = {0: "no legs"}.get(legs, f"{NUMBERS[legs]} legs")
    return pick(rng, (pick(rng, f"What sound does {article(name)} make?", f"What does {article(name)} say?",
                           f"What noise does {article(name)} make?"), f"{cap(article(name))} {sound}."),
                (pick(rng, f"Where does {article(name)} live?",
                      f"Where do you find {article(name)}?"), f"{cap(article(name))} lives {home}."),
                (pick(rng, f"What does {article(name)} eat?", f"What do you feed {article(name)}?",
                      f"What food does {article(name)} like?"), f"{cap(article(name))} eats {food}."),
                (pick(rng, f"What is a baby {name} called?",
                      f"What do you call a young {name}?"), f"A baby {name} is called {article(young)}."),
                (pick(rng, f"How many legs does {article(name)} have?",
                      f"How many legs has {article(name)}?"), f"{cap(article(name))} has {legtext}."),
                (f"Can {article(name)} fly?",
                 f"Yes, {article(name)} can fly." if name in ANIMALS_FLY else f"No, {article(name)} cannot fly."),
                (f"Can {article(name)} swim?", f"Yes, {article(name)} can swim.") if name in ANIMALS_SWIM else
                (f"What is {article(name)}?", f"{cap(article(name))} is an animal that lives {home}."),
                (pick(rng, f"Tell me about {article(name)}.", f"Describe {article(name)}.",
                      f"Tell me something about the {name}."),
                 f"{cap(article(name))} is an animal that lives {home}. It has {legtext} and eats {food}."), size(rng))


def size(rng):
    big, small = rng.choice(ANIMALS_BIG), rng.choice(ANIMALS_SMALL)
    x, y = (big, small) if rng.random() < 0.5 else (small, big)
    word = pick(rng, "bigger", "smaller")
    win = big if word == "bigger" else small
    lose = small if word == "bigger" else big
    if rng.random() < 0.5:
        return f"Which is {word}, {article(x)} or {article(y)}?", f"{cap(article(win))} is {word} than {article(lose)}."
    more, less, start = (x, y, "Yes") if x == win else (y, x, "No")
    return f"Is {article(x)} {word} than {article(y)}?", f"{start}, {article(more)} is {word} than {article(less)}."


def opposite(rng):
    x, y = swap(rng, OPPOSITES)
    return pick(rng, f"What is the opposite of {x}?", f"What's the opposite of {x}?", f"Tell me the opposite of {x}.",
                f"Opposite of {x}?"), f"The opposite of {x} is {y}."


def calendar(rng):
    i, m = rng.randrange(7), rng.randrange(12)
    season = rng.choice(sorted(SEASONS))
    return pick(
        rng, (pick(rng, f"What day comes after {DAYS[i]}?", f"Which day is after {DAYS[i]}?",
                   f"What comes after {DAYS[i]}?"), f"{DAYS[(i + 1) % 7]} comes after {DAYS[i]}."),
        (pick(rng, f"What day comes before {DAYS[i]}?",
              f"Which day is before {DAYS[i]}?"), f"{DAYS[(i + 6) % 7]} comes before {DAYS[i]}."),
        (f"Today is {DAYS[i]}. What day is tomorrow?", f"Tomorrow is {DAYS[(i + 1) % 7]}."),
        (f"Today is {DAYS[i]}. What day was yesterday?", f"Yesterday was {DAYS[(i + 6) % 7]}."),
        (pick(rng, f"What month comes after {MONTHS[m]}?",
              f"Which month is after {MONTHS[m]}?"), f"{MONTHS[(m + 1) % 12]} comes after {MONTHS[m]}."),
        (pick(rng, f"What month comes before {MONTHS[m]}?",
              f"Which month is before {MONTHS[m]}?"), f"{MONTHS[(m + 11) % 12]} comes before {MONTHS[m]}."),
        (f"How many days does {MONTHS[m]} have?",
         f"{MONTHS[m]} has {MONTH_DAYS[m]} days." if m != 1 else "February has 28 days, and 29 in a leap year."),
        (pick(rng, "What are the days of the week?", "List the days of the week.", "Name the days of the week.",
              "Tell me the days of the week."), f"The days of the week are {', '.join(DAYS[:6])} and Sunday."),
        (pick(rng, "What are the months of the year?", "List the months of the year.",
              "Name the months."), f"The months are {', '.join(MONTHS[:11])} and December."),
        (pick(rng, "What are the four seasons?", "Name the seasons.",
              "List the seasons of the year."), "The four seasons are spring, summer, autumn and winter."),
        (pick(rng, f"What happens in {season}?", f"What is {season} like?",
              f"Tell me about {season}."), f"In {season}, {SEASONS[season]}."), *[
                  (q, a)
                  for q, a in (("How many days are in a week?", "A week has seven days."),
                               ("How many months are in a year?",
                                "A year has twelve months."), ("How many days are in a year?", "A year has 365 days."),
                               ("How many hours are in a day?",
                                "A day has 24 hours."), ("How many minutes are in an hour?", "An hour has 60 minutes."),
                               ("How many seconds are in a minute?", "A minute has 60 seconds."),
                               ("What is the first month of the year?", "The first month of the year is January."),
                               ("What is the last month of the year?",
                                "The last month of the year is December."), ("What is the first day of the week?",
                                                                             "The first day of the week is Monday."))
              ])


def sum_text(rng, x, y, op):
    """A question for x op y and its answer."""
    z = {"+": x + y, "-": x - y, "x": x * y}[op]
    word = {"+": "plus", "-": "minus", "x": "times"}[op]
    if rng.random() < 0.2 and max(x, y, z) <= 20:
        return pick(
            rng, f"What is {NUMBERS[x]} {word} {NUMBERS[y]}?",
            f"How much is {NUMBERS[x]} {word} {NUMBERS[y]}?"), f"{cap(NUMBERS[x])} {word} {NUMBERS[y]} is {NUMBERS[z]}."
    if rng.random() < 0.12 and op in "+-":
        who, item = rng.choice(NAMES), pick(rng, "apples", "books", "coins", "shells", "balls", "cookies")
        end = f"gets {y} more" if op == "+" else f"gives away {y}"
        return (f"{who} has {x} {item} and {end}. How many {item} does {who} have now?",
                f"{x} {op} {y} = {z}, so {who} has {z} {item}.")
    sign = pick(rng, "x", "*") if op == "x" else op
    q = pick(rng, f"What is {x} {sign} {y}?", f"{x} {sign} {y} = ?", f"{x} {sign} {y}", f"How much is {x} {sign} {y}?",
             f"Calculate {x} {sign} {y}.", f"What is {x} {word} {y}?", f"What's {x}{sign}{y}?", f"{x}{sign}{y}=")
    return q, f"{x} {word if word in q else sign} {y} {'is' if word in q else '='} {z}."


def arithmetic(rng):
    """Sums and differences within twenty, small products."""
    r = rng.random()
    if r < 0.45:
        x = rng.randrange(0, 21)
        return sum_text(rng, x, rng.randrange(0, 21 - x), "+")
    if r < 0.85:
        x = rng.randrange(0, 21)
        return sum_text(rng, x, rng.randrange(0, x + 1), "-")
    return sum_text(rng, rng.randrange(0, 6), rng.randrange(0, 11), "x")


def arithmetic2(rng):
    """Sums and differences within a hundred, products to ten times ten."""
    r = rng.random()
    if r < 0.45:
        x = rng.randrange(0, 100)
        return sum_text(rng, x, rng.randrange(0, 100 - x), "+")
    if r < 0.75:
        x = rng.randrange(0, 101)
        return sum_text(rng, x, rng.randrange(0, x + 1), "-")
    return sum_text(rng, rng.randrange(0, 11), rng.randrange(0, 11), "x")


def structured(rng):
    """Answers as JSON when the user asks for that."""
    who, age, c, pet = rng.choice(NAMES), rng.randrange(3, 91), rng.choice(COLOURS), rng.choice(KIND_ANIMALS)
    land, city = swap(rng, CAPITALS)
    name, (_, home, _, _, legs) = swap(rng, ANIMALS)
    words = rng.sample(COLOURS + FOODS + TOYS, 3)
    ask = pick(rng, "Answer in JSON: ", "Reply in JSON. ", "As JSON: ", "Give me JSON: ")
    return pick(
        rng, (ask + f"{who} is {age} years old.", f'{{"name": "{who}", "age": {age}}}'),
        (ask + f"{who} has {article(pet)} and likes {c}.",
         f'{{"name": "{who}", "pet": "{pet}", "colour": "{c}"}}'),
        (ask + f"What is the capital of {land}?", f'{{"country": "{land}", "capital": "{city}"}}'),
        (ask + f"How many legs does {article(name)} have?", f'{{"animal": "{name}", "legs": {legs}}}'),
        (pick(rng, f"Write {words[0]}, {words[1]} and {words[2]} as a JSON array.",
              f"Make a JSON list of {words[0]}, {words[1]} and {words[2]}."),
         f'["{words[0]}", "{words[1]}", "{words[2]}"]'))


def number(rng):
    x, y = rng.sample(range(0, 21), 2)
    lo, n = rng.randrange(0, 10), rng.randrange(3, 11)
    word = pick(rng, "bigger", "smaller")
    second, first = sorted((x, y), reverse=word == "smaller")
    shape, k = swap(rng, SHAPES)
    edge = pick(rng, "sides", "corners")
    return pick(
        rng, (pick(rng, f"Count from {lo} to {lo + n}.", f"Please count from {lo} to {lo + n}.",
                   f"Can you count from {lo} to {lo + n}?"), ", ".join(str(i) for i in range(lo, lo + n + 1)) + "."),
        (pick(rng, "Count to ten.", "Can you count to ten?", "Count from one to ten.",
              "Count to 10."), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10."
         if rng.random() < 0.5 else "One, two, three, four, five, six, seven, eight, nine, ten."),
        (f"Count backwards from {n}.", ", ".join(str(i) for i in range(n, 0, -1)) + "."),
        (f"Which number is {word}, {x} or {y}?",
         f"{first} is {word} than {second}."
         ), (pick(rng, f"What number comes after {x}?", f"Which number is after {x}?"), f"{x + 1} comes after {x}."),
        (f"What number comes before {x + 1}?", f"{x} comes before {x + 1}."),
        (f"Is {x} even or odd?", f"{x} is {'odd' if x % 2 else 'even'}."),
        (f"Is {x} bigger than {y}?", f"Yes, {x} is bigger than {y}." if x > y else f"No, {x} is smaller than {y}."),
        (f"How many {edge} does {article(shape)} have?", f"{cap(article(shape))} has {NUMBERS[k]} {edge}."),
        (f"Write {x} as a word.", f"{cap(NUMBERS[x])}."))


def knowledge(rng):
    k, is_ = swap(rng, KINDS)
    other = rng.choice(sorted(KINDS.values()))
    job, does = swap(rng, JOBS)
    tool, use = swap(rng, USES)
    part, work = swap(rng, BODY)
    return pick(
        rng, (pick(rng, f"What is {k}?", f"What kind of thing is {k}?"), f"{cap(k)} is {is_}."),
        (f"Is {k} {is_}?", f"Yes, {k} is {is_}."),
        (f"Is {k} {other}?", f"Yes, {k} is {is_}." if other == is_ else f"No, {k} is {is_}."),
        (pick(rng, f"What does {article(job)} do?", f"What is the job of {article(job)}?", f"What is {article(job)}?"),
         f"{cap(article(job))} {does}."), (f"Who {does}?", f"{cap(article(job))} {does}."),
        (pick(rng, f"What is {a_(tool)} for?", f"What do you use {a_(tool)} for?", f"What can I do with {a_(tool)}?")
         if tool not in ("scissors", "soap") else f"What do you use {tool} for?",
         f"You use {a_(tool) if tool not in ('scissors', 'soap') else tool} to {use}."),
        (f"What do I need to {use}?", f"You need {a_(tool) if tool not in ('scissors', 'soap') else tool} to {use}."),
        (f"What do we use our {part} for?", f"We use our {part} to {work}."),
        rng.choice([("How many legs does a dog have?", "A dog has four legs."), ("Is ice hot or cold?", "Ice is cold."),
                    ("Is fire hot or cold?", "Fire is hot."), ("What do bees make?", "Bees make honey."),
                    ("What do cows give us?", "Cows give us milk."), ("What do hens give us?", "Hens give us eggs."),
                    ("Where does milk come from?", "Milk comes from cows."),
                    ("What do plants need to grow?", "Plants need water, light and soil."),
                    ("What falls from the clouds?", "Rain and snow fall from the clouds."),
                    ("When do we see the stars?", "We see the stars at night."),
                    ("When do we see the sun?", "We see the sun during the day."),
                    ("Where does the sun rise?", "The sun rises in the east."),
                    ("Where does the sun set?", "The sun sets in the west."),
                    ("What is snow made of?", "Snow is made of tiny bits of ice."),
                    ("What is ice?", "Ice is frozen water."),
                    ("How many fingers do you have on one hand?", "A hand has five fingers."),
                    ("How many eyes does a person have?", "A person has two eyes."),
                    ("How many wheels does a car have?", "A car has four wheels."),
                    ("How many wheels does a bike have?", "A bike has two wheels."),
                    ("What is bread made of?", "Bread is made of flour and water."),
                    ("What do we drink when we are thirsty?", "We drink water when we are thirsty."),
                    ("What planet do we live on?", "We live on the planet Earth."),
                    ("What is the largest animal?", "The blue whale is the largest animal."),
                    ("Is the sun a star?", "Yes, the sun is a star."),
                    ("Why do we sleep?", "We sleep because the body and the brain need rest."),
                    ("Why do we eat?", "We eat because food gives us energy."),
                    ("What do you say when you get a gift?", "You say thank you."),
                    ("What do you wear when it is cold?", "You wear a warm coat when it is cold."),
                    ("Where do fish live?", "Fish live in the water."),
                    ("Can fish walk?", "No, fish cannot walk. They swim."),
                    ("How many letters are in the alphabet?", "The alphabet has 26 letters."),
                    ("What is the first letter of the alphabet?", "The first letter of the alphabet is A."),
                    ("What is the last letter of the alphabet?", "The last letter of the alphabet is Z.")]))


def listing(rng):
    n = rng.randrange(2, 6)
    name, words = pick(rng, ("animals", sorted(ANIMALS)), ("colours", COLOURS[:10]),
                       ("fruits", ["apple", "banana", "pear", "cherry", "peach", "lemon", "grape", "orange", "plum"]),
                       ("vegetables", ["carrot", "potato", "onion", "pea", "tomato", "cabbage", "corn", "bean"]),
                       ("toys", TOYS[:12]), ("jobs", sorted(JOBS)),
                       ("countries", [c for c in CAPITALS if " " not in c]), ("names", NAMES),
                       ("things in a kitchen", ["spoon", "cup", "plate", "oven", "table", "pot", "knife", "bowl"]),
                       ("farm animals", ["cow", "pig", "hen", "sheep", "goat", "horse"]),
                       ("animals that can fly", ANIMALS_FLY), ("animals that can swim", ANIMALS_SWIM))
    chosen = rng.sample(words, n)
    count = NUMBERS[n] if rng.random() < 0.7 else n
    q = pick(rng, f"Name {count} {name}.", f"List {count} {name}.", f"Tell me {count} {name}.",
             f"Give me {count} {name}.", f"Can you name {count} {name}?")
    text = ", ".join(chosen[:-1]) + " and " + chosen[-1] + "."
    return q, cap(text)


def language(rng):
    w = rng.choice([w for w in ALL_TOPICS + sorted(KIND_ANIMALS) if len(w) < 8 and " " not in w])
    irregular = {
        "go": "went", "see": "saw", "eat": "ate", "run": "ran", "take": "took", "find": "found", "make": "made",
        "come": "came", "give": "gave", "fly": "flew", "write": "wrote", "sing": "sang", "swim": "swam",
        "play": "played", "walk": "walked", "jump": "jumped", "help": "helped", "say": "said", "buy": "bought",
        "sleep": "slept", "think": "thought"
    }
    plural = {
        "mouse": "mice", "child": "children", "man": "men", "woman": "women", "foot": "feet", "tooth": "teeth",
        "goose": "geese", "sheep": "sheep", "cat": "cats", "box": "boxes", "leaf": "leaves", "baby": "babies",
        "dog": "dogs", "book": "books", "city": "cities", "fox": "foxes", "wolf": "wolves", "fish": "fish",
        "apple": "apples", "knife": "knives"
    }
    rhymes = {
        "cat": "hat", "dog": "frog", "house": "mouse", "tree": "bee", "star": "car", "ring": "king", "sun": "run",
        "cake": "lake", "light": "night", "boat": "goat", "moon": "spoon", "bear": "chair", "rain": "train",
        "day": "play", "book": "cook", "ball": "wall", "bed": "red", "snow": "blow", "sing": "ring", "nose": "rose"
    }
    v, p = swap(rng, irregular)
    s, pl = swap(rng, plural)
    r1, r2 = swap(rng, rhymes)
    text = pick(rng, "I like you", "The sun is warm", "Hello world", "My dog is happy", f"The {w} is here",
                f"I see {article(w)}", "Good night, moon",
                f"{rng.choice(NAMES)} likes {rng.choice(COLOURS)} {pick(rng, 'hats', 'shoes', 'cars', 'birds')}")
    return pick(
        rng, (pick(rng, f"Spell the word {w}.", f"How do you spell {w}?", f"Spell {w}."), "-".join(w.upper()) + "."),
        (pick(rng, f"What is the first letter of {w}?",
              f"Which letter does {w} start with?"), f"The first letter of {w} is {w[0].upper()}."),
        (pick(rng, f"What is the past tense of {v}?", f"What is the past of {v}?"), f"The past tense of {v} is {p}."),
        (pick(rng, f"What is the plural of {s}?", f"What is more than one {s} called?"), f"The plural of {s} is {pl}."),
        (pick(rng, f"What rhymes with {r1}?",
              f"Give me a word that rhymes with {r1}."), f"{cap(r2)} rhymes with {r1}."),
        (pick(rng, f"Say: {text}.", f"Repeat after me: {text}.", f"Please say \"{text}\"."), f"{text}."))


# --- writing ----------------------------------------------------------------


def sentence(rng):
    t = rng.choice(ALL_TOPICS)
    who, place, c = rng.choice(NAMES), rng.choice(PLACES), rng.choice(COLOURS)
    if t in ANIMALS:
        s = pick(rng, f"The {t} {ANIMALS[t][0]} when {who} comes home.", f"The little {t} lives {ANIMALS[t][1]}.",
                 f"{who} saw {article(t)} near the {place}.", f"The {t} likes to eat {ANIMALS[t][2]}.")
    elif t in FOODS:
        s = pick(rng, f"{who} ate some {t} for lunch.", f"The {t} on the table smells good.",
                 f"{who} likes {t} very much.")
    elif t in PLACES:
        s = pick(rng, f"{who} went to the {t} with {rng.choice(NAMES)}.", f"The {t} was quiet in the morning.",
                 f"There is a big tree near the {t}.")
    elif t in SKY:
        s = pick(rng, f"The {t} was beautiful that day.", f"{who} looked up at the {t}.", f"{who} likes the {t}.")
    elif t in BEINGS:
        s = pick(rng, f"The {t} lived near a {place}.", f"{who} met a kind {t} at the {place}.",
                 f"The old {t} smiled at {who}.")
    else:
        s = pick(rng, f"The {c} {t} belongs to {who}.", f"{who} found {article(c + ' ' + t)} in the {place}.",
                 f"There is {article(c + ' ' + t)} in front of the house.", f"{who} has {article('new ' + t)}.")
    about = pick(rng, article(t), "the " + t) if t not in FOODS + SKY else pick(rng, t, "the " + t)
    return pick(rng, f"Write a sentence about {about}.", f"Write one sentence about {about}.",
                f"Make a sentence with the word {t}.", f"Write a sentence with the word \"{t}\".",
                f"Use {t} in a sentence.", f"Give me a sentence about {about}."), s


def poem(rng):
    t = pick(rng, "cat", "star", "rain", "sea", "tree", "bird", "moon", "friend", "night", "spring", "dog", "snow")
    lines = {
        "cat": ("The little cat sat on the mat,", "and on its head there was a hat."),
        "star": ("I see a star that shines so bright,", "it is my lamp all through the night."),
        "rain": ("The rain comes down on field and tree,", "and sings a quiet song to me."),
        "sea": ("The sea is wide, the sea is blue,", "it brings a little shell to you."),
        "tree": ("The old tree stands beside the lake,", "and holds a nest when birds awake."),
        "bird": ("A small bird sings up in the tree,", "I think it sings that song for me."),
        "moon": ("The moon looks down with silver light,", "and tells the world to sleep all night."),
        "friend": ("A friend is someone kind and true,", "who laughs and plays and walks with you."),
        "night": ("The night is dark, the night is deep,",
                  "and all the little children sleep."), "spring": ("The spring is here, the snow has gone,",
                                                                    "and flowers grow upon the lawn."),
        "dog": ("My dog can run, my dog can play,",
                "he stays with me the whole long day."), "snow": ("The snow falls softly, cold and white,",
                                                                  "and makes the garden clean and bright.")
    }
    return pick(
        rng, f"Write a poem about {pick(rng, article(t), 'the ' + t) if t not in ('rain', 'snow', 'spring') else t}.",
        f"Write a short poem about {pick(rng, article(t), 'the ' + t) if t not in ('rain', 'snow', 'spring') else t}.",
        f"Can you write a rhyme about {t if t in ('rain', 'snow', 'spring') else article(t)}?"), "\n".join(lines[t])


def joke(rng):
    return pick(rng, "Tell me a joke.", "Do you know a joke?", "Make me laugh.", "tell me a joke",
                "Say something funny."), pick(rng, "Why did the book go to bed early? It had a long story behind it.",
                                              "What does a cloud wear under its coat? Thunderwear.",
                                              "Why was the clock sent out of class? It ticked too much.",
                                              "Why did the cookie go to the doctor? It felt crumbly.",
                                              "What do you call a bear with no teeth? A gummy bear.",
                                              "Why did the snowman look in the carrot box? He was picking his nose.",
                                              "What is brown and sticky? A stick.",
                                              "Why did the bike fall over? It was two tired.")


def begun(text, rng):
    """The first words of a story, as a user may type them to have it told."""
    words = text.split("\n")[0].split(" ")
    head = " ".join(words[:rng.choice([4, 4, 4, 5, 6, 8, 10, 12])]).rstrip(",.!?")
    return head + pick(rng, "", "", "...", ",")


def more(rng):
    """Short exchanges around stories: an offer taken or refused, another story asked for."""
    offer = ("assistant",
             pick(rng, "Would you like to hear a story?", "Hello! Would you like to hear a story?",
                  "Hi! Would you like to hear a story?"))
    r = rng.random()
    if r < 0.4:
        return [("user", pick(rng, "Hello", "Hi", "I am bored.", "Hey")), offer,
                ("user", pick(rng, "Yes", "Yes, please.", "yes", "Sure!", "Okay", "ok", "Yes please!")),
                ("assistant", tale(rng)[0])]
    if r < 0.6:
        return [("user", pick(rng, "Hello", "Hi", "I am bored.", "Hey")), offer,
                ("user", pick(rng, "No", "No, thank you.", "no", "Not now.", "Maybe later.")),
                ("assistant",
                 pick(rng, "That is fine. What can I do for you?", "Okay. What would you like to talk about?"))]
    return story(rng)[:2] + [("user",
                              pick(rng, "Tell me another one.", "Another story, please.", "Tell me another story.",
                                   "One more!", "more", "Again, please.")), ("assistant", tale(rng)[0])]


def story(rng):
    """A request for a story, the story, and sometimes questions about it."""
    topic = rng.choice(sorted(set(KIND_ANIMALS + PLACES + TOYS + FOODS + BEINGS)) +
                       ["girl", "boy"] * 4) if rng.random() < 0.85 else None
    text, plan = tale(rng, topic)
    hero, friend = plan["hero"], plan["friend"]
    if topic is None:
        ask = rng.choice(ASK_ANY)
    else:
        about = pick(rng, article(topic), f"a {hero.kind} named {hero.name}" if hero.kind == topic else article(topic),
                     f"{article(topic)} and {article(friend.kind)}" if rng.random() < 0.3 else article(topic))
        about = about.replace("a elephant", "an elephant").replace("a owl", "an owl")
        ask = rng.choice(ASK_TOPIC).format(about)
    if rng.random() < 0.08:
        ask = begun(text, rng)
    turns = [("user", ask), ("assistant", text)]
    if rng.random() < 0.4:
        questions = [(pick(rng, f"What was the name of the {hero.kind}?",
                           f"What is the name of the {hero.kind} in the story?"),
                      f"The {hero.kind} was named {hero.name}."),
                     (f"Who was {friend.name}?", f"{friend.name} was {article(friend.kind)}."),
                     (f"Who was {hero.name}?", f"{hero.name} was {article(hero.kind)}."),
                     (pick(rng, "What happened in the story?", "What was the story about?",
                           "Sum up the story."), f"{plan['gist']}.")]
        if plan["where"]:
            questions.append((f"Where was the {plan['thing']}?", f"The {plan['thing']} was {plan['where']}."))
        q, a = rng.choice(questions)
        turns += [("user", q), ("assistant", a)]
    return turns


def memory(rng):
    """The user says something about himself and asks for it again."""
    name, c, pet = rng.choice(NAMES), rng.choice(COLOURS), rng.choice(KIND_ANIMALS)
    kind = rng.randrange(3)
    if kind == 0:
        turns = [("user",
                  pick(rng, f"My name is {name}.", f"I am {name}.", f"Hi, my name is {name}.", f"Hello, I'm {name}.")),
                 ("assistant", pick(rng, f"Hello, {name}! It is nice to meet you.", f"Nice to meet you, {name}!"))]
        last = [("user", pick(rng, "What is my name?", "Do you know my name?", "Who am I?")),
                ("assistant", f"Your name is {name}.")]
    elif kind == 1:
        turns = [("user",
                  pick(rng, f"I like the colour {c}.", f"My favourite colour is {c}.", f"My favorite color is {c}.")),
                 ("assistant", pick(rng, f"{cap(c)} is a nice colour.", f"I think {c} is a beautiful colour."))]
        last = [("user",
                 pick(rng, "What is my favourite colour?", "Which colour do I like?", "What is my favorite color?")),
                ("assistant", f"Your favourite colour is {c}.")]
    else:
        turns = [("user", pick(rng, f"I have {article(pet)} named {name}.", f"My {pet} is called {name}.")),
                 ("assistant", f"{name} is a nice name for {article(pet)}.")]
        last = [("user", pick(rng, f"What is the name of my {pet}?", f"What is my {pet} called?")),
                ("assistant", f"Your {pet} is called {name}.")]
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        q, a = rng.choice(PAIRS)(rng)
        turns += [("user", q), ("assistant", a)]
    return turns + last if rng.random() < 0.85 else turns


def unknown_self(rng):
    return pick(rng, "What is my name?", "Do you know my name?", "How old am I?", "Where do I live?",
                "What is my favourite colour?"), "I do not know. You have not told me yet."


PAIRS = [
    hello, mood, identity, thanks, refuse, unknown, feeling, capital, colour, animal, opposite, calendar, arithmetic,
    arithmetic2, number, knowledge, listing, language, sentence, poem, joke, structured
]
WEIGHTS = {
    identity: 2.5, refuse: 2, unknown: 2, capital: 2, animal: 3, arithmetic: 5, arithmetic2: 3, number: 1.5,
    knowledge: 2.5, colour: 1.5, calendar: 1.5, structured: 0.6, sentence: 2, poem: 0.6, joke: 0.4, thanks: 0.7,
    language: 1.5
}
MAKERS = PAIRS + [unknown_self, goodbye]
MAKER_WEIGHTS = [WEIGHTS.get(m, 0.2 if m is unknown_self else 0.5 if m is goodbye else 1.0) for m in MAKERS]


def rough(text, rng):
    """The user's writing: sometimes in lower case, sometimes without the final mark."""
    r = rng.random()
    if r < 0.12:
        text = text.lower()
    if r < 0.06 or 0.12 < r < 0.2:
        text = text.rstrip(".?!")
    if 0.2 < r < 0.25:
        text = pick(rng, "Please tell me: ", "Hey, ", "I have a question. ", "Can you tell me? ") + text
    return text


def conversation(rng):
    r = rng.random()
    turns = []
    if rng.random() < 0.12 and r > 0.1:
        turns += [(role, t) for role, t in zip(("user", "assistant"), hello(rng))]
    if r < 0.1:
        turns += memory(rng)
    elif r < 0.2:
        turns += story(rng)
    elif r < 0.23:
        turns += more(rng)
    else:
        for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 4])):
            q, a = rng.choices(MAKERS, MAKER_WEIGHTS)[0](rng)
            turns += [("user", q), ("assistant", a)]
    if rng.random() < 0.04:
        turns += [(role, t) for role, t in zip(("user", "assistant"), goodbye(rng))]
    turns = [(role, rough(t, rng) if role == "user" else t) for role, t in turns]
    return chat(turns, rng.choice(SYSTEMS) if rng.random() < 0.12 else None)


def facts(rng, count):
    """Conversations of questions with one right answer, sums above all: more facts a token than chats has."""
    makers = [
        arithmetic, arithmetic2, capital, colour, opposite, calendar, number, knowledge, animal, language, identity,
        refuse, unknown
    ]
    weights = [6, 8, 2, 2, 1.5, 2, 2, 3, 4, 1.5, 1, 1, 1.5]
    for _ in range(count):
        turns = []
        for maker in rng.choices(makers, weights, k=rng.choice([1, 2, 4, 6, 8])):
            q, a = maker(rng)
            turns += [("user", rough(q, rng)), ("assistant", a)]
        yield chat(turns)


def chats(rng, count):
    return (conversation(rng) for _ in range(count))


def tales(rng, count):
    for _ in range(count):
        if rng.random() < 0.5:
            yield BOS + tale(rng, rng.choice([None] + sorted(KIND_ANIMALS)))[0] + END
        else:
            yield chat(story(rng))
