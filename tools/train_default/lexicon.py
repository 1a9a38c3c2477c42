"""Word lists of the generator, written for this project.

One place for every word that the chat and story generators combine, so that
the tokenizer sees them all and a topic asked for in chat is a topic that the
stories know.
"""

# animal: (sound verb, place it lives, food, young, legs)
ANIMALS = {
    "dog": ("barks", "in a house", "meat and bones", "puppy", 4),
    "cat": ("meows", "in a house", "fish and milk", "kitten", 4),
    "cow": ("moos", "on a farm", "grass", "calf", 4),
    "horse": ("neighs", "on a farm", "hay and grass", "foal", 4),
    "pig": ("oinks", "on a farm", "corn", "piglet", 4),
    "sheep": ("bleats", "on a farm", "grass", "lamb", 4),
    "goat": ("bleats", "on a farm", "leaves and grass", "kid", 4),
    "duck": ("quacks", "on a pond", "bread and plants", "duckling", 2),
    "hen": ("clucks", "on a farm", "seeds", "chick", 2),
    "frog": ("croaks", "in a pond", "flies", "tadpole", 4),
    "lion": ("roars", "in the grassland", "meat", "cub", 4),
    "tiger": ("roars", "in the jungle", "meat", "cub", 4),
    "bear": ("growls", "in the forest", "honey and fish", "cub", 4),
    "wolf": ("howls", "in the forest", "meat", "pup", 4),
    "fox": ("barks", "in the forest", "berries and mice", "cub", 4),
    "owl": ("hoots", "in a tree", "mice", "owlet", 2),
    "bird": ("sings", "in a nest", "seeds and worms", "chick", 2),
    "mouse": ("squeaks", "in a hole", "cheese and seeds", "pup", 4),
    "snake": ("hisses", "in the grass", "mice", "hatchling", 0),
    "bee": ("buzzes", "in a hive", "nectar", "larva", 6),
    "elephant": ("trumpets", "in the grassland", "leaves and fruit", "calf", 4),
    "monkey": ("chatters", "in the jungle", "bananas", "infant", 4),
    "rabbit": ("squeaks", "in a burrow", "carrots and grass", "kit", 4),
    "squirrel": ("chatters", "in a tree", "nuts", "kit", 4),
    "deer": ("grunts", "in the forest", "leaves and grass", "fawn", 4),
    "turtle": ("hisses", "near a pond", "plants", "hatchling", 4),
    "fish": ("makes bubbles", "in the water", "small plants", "fry", 0),
    "penguin": ("squawks", "on the ice", "fish", "chick", 2),
    "whale": ("sings", "in the sea", "tiny sea animals", "calf", 0),
    "dolphin": ("clicks", "in the sea", "fish", "calf", 0),
    "spider": ("makes no sound", "in a web", "flies", "spiderling", 8),
    "ant": ("makes no sound", "in an anthill", "crumbs and seeds", "larva", 6),
    "butterfly": ("makes no sound", "in the garden", "nectar", "caterpillar", 6),
    "hedgehog": ("snuffles", "under the leaves", "worms and bugs", "hoglet", 4),
    "crow": ("caws", "in a tree", "seeds and worms", "chick", 2),
    "giraffe": ("hums", "in the grassland", "leaves", "calf", 4),
    "crocodile": ("growls", "in the river", "meat", "hatchling", 4),
    "camel": ("grunts", "in the desert", "dry plants", "calf", 4),
    "parrot": ("talks", "in the jungle", "fruit and seeds", "chick", 2),
    "crab": ("clicks", "on the beach", "small sea animals", "larva", 10),
}
ANIMALS_FLY = ["bird", "owl", "bee", "butterfly", "crow", "parrot", "duck"]
ANIMALS_SWIM = ["fish", "duck", "whale", "dolphin", "frog", "turtle", "penguin", "crocodile", "crab"]
ANIMALS_BIG = ["elephant", "whale", "horse", "cow", "bear", "giraffe", "camel", "lion", "crocodile"]
ANIMALS_SMALL = ["mouse", "ant", "bee", "spider", "butterfly", "frog", "hedgehog"]

GIRLS = [
    "Lily", "Anna", "Mia", "Sue", "Lucy", "Emma", "Sara", "Amy", "Ella", "Rosie", "Nora", "Zoe", "Mary", "Jane",
    "Clara", "Ruby", "Ada", "Ivy", "Molly", "Kate", "Lena", "Nina", "Tina", "Daisy", "Maya", "Eva", "Alice"
]
BOYS = [
    "Tom", "Tim", "Ben", "Max", "Sam", "Jack", "Leo", "Bob", "Peter", "Billy", "Finn", "Oscar", "Noah", "Luke", "Adam",
    "Joe", "Mark", "John", "Theo", "Hugo", "Dan", "Nick", "Owen", "Paul", "Felix", "Henry"
]

COLOURS = ["red", "blue", "green", "yellow", "orange", "purple", "pink", "brown", "black", "white", "grey", "golden"]
THINGS_COLOUR = {
    "the sky": "blue",
    "grass": "green",
    "snow": "white",
    "a banana": "yellow",
    "the sun": "yellow",
    "blood": "red",
    "a strawberry": "red",
    "a tomato": "red",
    "milk": "white",
    "coal": "black",
    "a carrot": "orange",
    "an orange": "orange",
    "a lemon": "yellow",
    "a leaf": "green",
    "the sea": "blue",
    "chocolate": "brown",
    "the night sky": "black",
    "a cloud": "white",
    "a frog": "green",
    "a pig": "pink",
    "a crow": "black",
    "an elephant": "grey",
    "a fire truck": "red",
    "a polar bear": "white",
    "a cucumber": "green",
    "a cherry": "red",
    "a plum": "purple",
    "a pumpkin": "orange",
    "wood": "brown",
    "gold": "yellow",
    "a mouse": "grey",
    "a fox": "red",
    "a pea": "green",
    "paper": "white",
}
MIXES = {("blue", "yellow"): "green", ("red", "yellow"): "orange", ("red", "blue"): "purple", ("red", "white"): "pink",
         ("black", "white"): "grey", ("red", "green"): "brown"}

OPPOSITES = {
    "big": "small",
    "hot": "cold",
    "up": "down",
    "day": "night",
    "happy": "sad",
    "fast": "slow",
    "old": "young",
    "good": "bad",
    "wet": "dry",
    "high": "low",
    "hard": "soft",
    "light": "dark",
    "full": "empty",
    "open": "closed",
    "loud": "quiet",
    "long": "short",
    "strong": "weak",
    "near": "far",
    "left": "right",
    "rich": "poor",
    "clean": "dirty",
    "early": "late",
    "inside": "outside",
    "heavy": "light",
    "thick": "thin",
    "sweet": "sour",
    "brave": "afraid",
    "begin": "end",
    "push": "pull",
    "yes": "no",
    "black": "white",
    "true": "false",
    "first": "last",
    "love": "hate",
    "win": "lose",
    "give": "take",
    "come": "go",
    "laugh": "cry",
    "always": "never",
    "above": "below",
    "front": "back",
    "wide": "narrow",
    "deep": "shallow",
    "easy": "difficult",
    "kind": "mean",
    "smooth": "rough",
    "new": "old",
}

CAPITALS = {
    "France": "Paris",
    "England": "London",
    "Germany": "Berlin",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Japan": "Tokyo",
    "China": "Beijing",
    "Russia": "Moscow",
    "India": "New Delhi",
    "Egypt": "Cairo",
    "Canada": "Ottawa",
    "Greece": "Athens",
    "Portugal": "Lisbon",
    "Poland": "Warsaw",
    "Sweden": "Stockholm",
    "Norway": "Oslo",
    "Denmark": "Copenhagen",
    "Finland": "Helsinki",
    "Austria": "Vienna",
    "Hungary": "Budapest",
    "Turkey": "Ankara",
    "Ireland": "Dublin",
    "Scotland": "Edinburgh",
    "Mexico": "Mexico City",
    "Brazil": "Brasilia",
    "Peru": "Lima",
    "Cuba": "Havana",
    "Kenya": "Nairobi",
    "Australia": "Canberra",
    "Belgium": "Brussels",
    "Switzerland": "Bern",
    "the United States": "Washington",
    "Argentina": "Buenos Aires",
    "Chile": "Santiago",
    "the Czech Republic": "Prague",
    "South Korea": "Seoul",
    "Thailand": "Bangkok",
    "Vietnam": "Hanoi",
    "the Netherlands": "Amsterdam",
    "Iceland": "Reykjavik",
}

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December"
]
MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
SEASONS = {
    "spring": "flowers grow and birds sing", "summer": "the sun is hot and the days are long",
    "autumn": "the leaves turn red and fall", "winter": "it is cold and snow can fall"
}
NUMBERS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"
]

TOYS = [
    "ball", "kite", "doll", "toy car", "toy boat", "drum", "book", "teddy bear", "puzzle", "balloon", "bike", "train",
    "robot", "rope", "flute", "paintbrush", "hat", "scarf", "box", "bell", "lamp", "key", "map", "spoon", "cup",
    "blanket", "umbrella", "necklace", "coin", "shell", "stone", "feather", "basket", "mirror", "clock"
]
FOODS = [
    "apple", "cake", "cookie", "pie", "bread", "soup", "banana", "pear", "carrot", "honey", "cheese", "milk", "berry",
    "cherry", "peach", "sandwich", "pancake", "corn", "nut", "potato", "egg", "rice", "lemon", "grape"
]
PLACES = [
    "park", "garden", "forest", "beach", "farm", "river", "hill", "lake", "market", "school", "library", "mountain",
    "village", "castle", "meadow", "pond", "zoo", "island", "bakery", "playground", "cave", "yard"
]
WEATHER = ["sunny", "rainy", "windy", "cold", "warm", "snowy", "cloudy", "foggy", "bright", "quiet", "stormy"]
FEELINGS = [
    "happy", "sad", "angry", "scared", "tired", "proud", "lonely", "excited", "surprised", "worried", "hungry", "calm",
    "curious", "shy", "bored", "grateful"
]
TRAITS = [
    "kind", "brave", "clever", "shy", "curious", "gentle", "cheerful", "careful", "honest", "patient", "funny", "quiet",
    "strong", "wise", "playful", "helpful", "lazy", "greedy", "proud", "grumpy"
]
BEINGS = [
    "king", "queen", "prince", "princess", "dragon", "giant", "wizard", "fairy", "robot", "pirate", "knight", "farmer",
    "baker", "teacher", "doctor", "painter", "sailor", "snowman", "ghost", "witch", "mermaid"
]
SKY = ["star", "moon", "sun", "cloud", "rainbow", "rain", "snow", "wind"]
PLANTS = ["tree", "flower", "rose", "seed", "leaf", "mushroom", "pumpkin", "oak", "daisy", "sunflower"]
VEHICLES = ["car", "boat", "train", "plane", "bus", "truck", "ship", "bike", "rocket", "tractor"]
BODY = {
    "eyes": "see", "ears": "hear", "nose": "smell", "tongue": "taste", "hands": "hold things", "legs": "walk",
    "teeth": "bite and chew", "brain": "think", "heart": "move the blood", "lungs": "breathe", "skin": "feel"
}
JOBS = {
    "doctor": "helps sick people", "teacher": "helps children learn", "farmer": "grows food and cares for animals",
    "baker": "makes bread and cakes", "firefighter": "puts out fires", "pilot": "flies planes",
    "sailor": "works on a ship", "cook": "makes food", "painter": "makes pictures", "vet": "helps sick animals",
    "police officer": "keeps people safe", "gardener": "takes care of plants", "builder": "builds houses",
    "singer": "sings songs", "writer": "writes books and stories", "dentist": "takes care of teeth",
    "nurse": "cares for sick people", "astronaut": "travels in space", "fisherman": "catches fish",
    "librarian": "takes care of books", "driver": "drives a car or a bus", "postman": "brings letters"
}
USES = {
    "spoon": "eat soup", "knife": "cut food", "pen": "write", "umbrella": "stay dry in the rain", "bed": "sleep",
    "chair": "sit", "key": "open a door", "clock": "tell the time", "lamp": "make light", "broom": "sweep the floor",
    "cup": "drink", "book": "read", "phone": "talk to people far away", "coat": "stay warm", "ladder": "climb up high",
    "boat": "travel on water", "hammer": "hit nails", "soap": "wash your hands", "towel": "get dry",
    "toothbrush": "clean your teeth", "map": "find the way", "scissors": "cut paper", "camera": "take pictures",
    "bike": "ride around", "oven": "bake bread", "mirror": "see yourself", "needle": "sew clothes",
    "bag": "carry things"
}
KINDS = {
    "a dog": "an animal", "a rose": "a flower", "an apple": "a fruit", "a carrot": "a vegetable", "an oak": "a tree",
    "red": "a colour", "a hammer": "a tool", "a car": "a vehicle", "milk": "a drink", "a sparrow": "a bird",
    "a shark": "a fish", "an ant": "an insect", "a chair": "a piece of furniture", "a shirt": "a piece of clothing",
    "gold": "a metal", "the moon": "a ball of rock in the sky", "the sun": "a star", "the Earth": "a planet",
    "a piano": "a musical instrument", "soccer": "a sport", "winter": "a season", "Monday": "a day of the week",
    "July": "a month", "seven": "a number", "a triangle": "a shape", "a banana": "a fruit", "a tulip": "a flower",
    "a drum": "a musical instrument", "a trout": "a fish", "an eagle": "a bird", "a bee": "an insect",
    "silver": "a metal", "tennis": "a sport", "a potato": "a vegetable", "water": "a drink", "a bus": "a vehicle"
}
SHAPES = {"triangle": 3, "square": 4, "rectangle": 4, "pentagon": 5, "hexagon": 6, "octagon": 8}


def topics():
    """Single words that a story may be asked to be about."""
    out = list(ANIMALS) + [t for t in TOYS if " " not in t] + FOODS + PLACES + BEINGS + SKY + PLANTS + VEHICLES
    return sorted(set(out))

# What the model is to say that it does not know.
UNKNOWN_COUNTRIES = [
    "Mongolia", "Nepal", "Ghana", "Bolivia", "Laos", "Oman", "Malta", "Fiji", "Chad", "Togo", "Iran", "Iraq",
    "Nigeria", "Ecuador", "Croatia", "Latvia", "Estonia", "Morocco", "Tunisia", "Pakistan", "Sudan", "Zambia",
    "Panama", "Jamaica", "Serbia", "Ukraine", "Cambodia", "Uganda", "Yemen"
]
UNKNOWN_ANIMALS = [
    "platypus", "axolotl", "yak", "lynx", "otter", "walrus", "scorpion", "ostrich", "koala", "badger", "tapir",
    "lobster", "gecko", "raven", "moose", "hyena", "jaguar", "pelican", "salmon", "weasel"
]
UNKNOWN_PEOPLE = [
    "Napoleon", "Einstein", "Mozart", "Shakespeare", "Cleopatra", "Newton", "Darwin", "Beethoven", "Picasso",
    "Julius Caesar", "Marie Curie", "Isaac Newton", "Albert Einstein", "Charles Dickens", "Plato", "Galileo",
    "Columbus", "Gandhi"
]
UNKNOWN_THINGS = [
    "photosynthesis", "electricity", "magnetism", "inflation", "democracy", "evolution", "energy", "an atom",
    "a molecule", "a black hole", "a neural network", "a database", "a virus", "a protein", "the internet",
    "blockchain", "relativity", "a prime number", "algebra", "geometry", "a verb", "capitalism", "the big bang",
    "a volcano", "an earthquake", "a vaccine", "the speed of light", "a transistor", "oxygen", "nitrogen",
    "a planet", "a galaxy", "the ozone layer", "entropy", "a contract", "insurance", "a mortgage", "an engine",
    "a turbine", "a laser"
]
