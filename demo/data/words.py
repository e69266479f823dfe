"""Word lists of the generator, all written for it."""

from __future__ import annotations


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ONSETS = _split("b c d f g h j k l m n p r s t v w z br cr dr fr gr kl pl pr sh sl st th tr ch")
RIMES = _split("a e i o u an ar el en er il in ir on or un us ai ea ou ek im om ak et as")

NAMES = _split(
    "Anna Bob Carla David Elena Frank Greta Hugo Irene Jack Karen Liam Maria Noah Olivia Peter Quinn Rosa Sam Tina "
    "Uma Victor Wanda Xavier Yara Zoe Adam Bella Carlos Diana Emil Fatima George Hannah Ivan Julia Kevin Laura Max "
    "Nina Oscar Paula Ralf Sara Tom Ursula Vera Walter Yusuf Ali Ben Clara Daniel Emma Felix Grace Henry Ida James "
    "Kate Leo Mia Nora Otto Pia Rita Simon Tara Luis Marta Omar Priya Ravi Sofia Theo Wei Yuki Amir Chen Eva Finn "
    "Iris Jonas Lena Mark Olga Paul Ruth Sven Alice Bruno Cora Dora Erik Flora John Mary Lucy Martin Michael Linda"
)
TOWNS = _split(
    "Paris London Berlin Rome Madrid Vienna Oslo Lisbon Athens Dublin Prague Warsaw Budapest Helsinki Stockholm Cairo "
    "Tokyo Delhi Sydney Toronto Boston Chicago Seattle Denver Austin Miami Lyon Hamburg Munich Milan Naples Porto "
    "Krakow Geneva Zurich Basel Bergen Kyoto Osaka Lima Quito Bogota Nairobi Lagos Tunis Dakar Accra Hanoi Seoul "
    "Manila Mumbai Dallas Leeds York Bath Cork Ghent Bern Graz Turin"
)
COLOURS = _split("red blue green yellow black white orange purple pink brown grey")
ANIMALS = _split(
    "cat dog horse cow sheep goat pig duck hen mouse rabbit fox wolf bear lion tiger zebra camel monkey snake frog "
    "owl eagle swan whale shark seal otter donkey hamster turtle parrot penguin elephant giraffe spider bee ant"
)
FRUITS = _split("apple pear plum cherry lemon orange banana grape peach melon mango kiwi fig lime")
VEGETABLES = _split("carrot potato onion tomato pea bean leek cabbage spinach pumpkin")
THINGS = _split(
    "apple pen coin stamp card book ball key cup button marble egg cake ticket shell stone flower balloon toy pencil"
)
VEHICLES = _split("car bike bus train boat van truck tram scooter plane")
JOBS = _split("teacher doctor baker farmer pilot nurse painter writer singer driver cook gardener lawyer engineer")
FOODS = _split("pizza soup bread rice pasta cheese salad cake fish honey curry tofu noodles pancakes")
INSTRUMENTS = _split("piano guitar violin drum flute trumpet harp cello")
SPORTS = _split("football tennis chess swimming running cycling skiing golf rugby hockey rowing")
DAYS = _split("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _split("January February March April May June July August September October November December")
NUMBER_WORDS = _split(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty twenty-one twenty-two twenty-three twenty-four twenty-five twenty-six twenty-seven "
    "twenty-eight twenty-nine thirty"
)
ADJECTIVES = _split(
    "small big old young happy sad quick slow quiet loud brave shy kind clever lazy warm cold bright dark soft hard "
    "tall short heavy light new empty full clean strange gentle green round golden silver wooden"
)
NOUNS = _split(
    "apple river table window garden lamp bridge mountain forest cloud stone mirror ladder basket candle pocket "
    "engine rocket planet island castle tower kitchen letter pencil paper ribbon button hammer needle blanket pillow "
    "bottle spoon plate knife carpet curtain door roof chimney fence path field meadow lake ocean beach desert valley "
    "storm thunder snow rain wind sun moon star comet shadow light music song dance picture story poem word number "
    "school market station harbour airport museum library hospital theatre church palace village city street corner "
    "winter summer spring autumn morning evening night hour minute money coin gold silver copper iron glass wood "
    "coffee tea milk water juice sugar salt pepper butter honey bread cheese soup cake pie shirt shoe hat coat glove "
    "scarf ring watch clock radio phone camera computer keyboard screen printer robot battery cable wheel tyre anchor "
    "sail rope tent map compass torch whistle drum flute violin tiger falcon dragon badger walnut maple willow tulip"
)
TOPICS = _split(
    "history physics chemistry biology geometry algebra philosophy economics politics religion law medicine poetry "
    "music football cricket cooking fashion travel gardening painting sculpture astronomy geology climate traffic "
    "elections taxes insurance banking inflation energy electricity magnetism gravity quantum atoms molecules genes "
    "proteins cells bacteria viruses vaccines dinosaurs fossils volcanoes earthquakes hurricanes rivers oceans deserts "
    "mountains forests insects birds whales elephants movies novels theatre opera jazz rock chess poker marathons "
    "bicycles airplanes rockets satellites computers compilers databases networks cryptography robots sensors lasers "
    "batteries engines bridges cathedrals castles pyramids emperors kings queens presidents wars treaties revolutions "
    "languages grammar dictionaries alphabets calendars clocks maps money markets stocks bonds trade farming fishing "
    "mining steel cement paper plastic glass cotton silk wool leather wine beer bread cheese chocolate coffee tea"
)
ALL = tuple(word for word in (*NAMES, *TOWNS, *NOUNS, *TOPICS, *ANIMALS, *ADJECTIVES, *JOBS, *FOODS) if len(word) > 2)
