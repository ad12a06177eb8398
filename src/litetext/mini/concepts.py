"""What the small world holds: its concepts, the words for them, the kind each belongs to, and the art that shows them.

One line a concept: the icon's name in the art sets, the kind, and the words for it (the first is the name, the
others are synonyms). The order is the order in which training meets them: what looks most alike in all drawing
styles comes first, so "the first N concepts" is a sensible smaller world.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorldConcept:
    """An object of the world.

    Attributes:
        icon: the name shared by the art sets.
        kind: the category, which hard negatives share ("fruit").
        words: the name, then its synonyms, lower case, singular.
    """

    icon: str
    kind: str
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """The first word for it, unique in the world."""
        return self.words[0]


_TABLE = """
banana | fruit | banana
automobile | vehicle | car, automobile
umbrella | thing | umbrella, parasol
tulip | plant | tulip
guitar | music | guitar
key | tool | key
airplane | vehicle | airplane, plane, aeroplane
elephant | animal | elephant
bicycle | vehicle | bicycle, bike
strawberry | fruit | strawberry
hamburger | food | hamburger, burger
penguin | animal | penguin
rocket | vehicle | rocket, space rocket
cactus | plant | cactus
soccer-ball | sport | soccer ball, football
sunflower | plant | sunflower
turtle | animal | turtle, tortoise
crown | clothing | crown
mushroom | plant | mushroom, toadstool
watermelon | fruit | watermelon, watermelon slice
fire-engine | vehicle | fire truck, fire engine
butterfly | animal | butterfly
pizza | food | pizza, pizza slice
bell | thing | bell
carrot | vegetable | carrot
snail | animal | snail
trumpet | music | trumpet
sailboat | vehicle | sailboat, sailing boat
grapes | fruit | grapes, bunch of grapes
hammer | tool | hammer
light-bulb | thing | light bulb, bulb
octopus | animal | octopus
cherries | fruit | cherries, pair of cherries
candle | thing | candle
tractor | vehicle | tractor
doughnut | food | doughnut, donut
scissors | tool | scissors, pair of scissors
basketball | sport | basketball
christmas-tree | plant | christmas tree
snake | animal | snake, serpent
violin | music | violin, fiddle
pineapple | fruit | pineapple
helicopter | vehicle | helicopter, chopper
spider | animal | spider
anchor | tool | anchor
whale | animal | whale
television | thing | television, tv
high-heeled-shoe | clothing | high heel, high heeled shoe
bus | vehicle | bus
lemon | fruit | lemon
owl | animal | owl
hot-dog | food | hot dog
trophy | sport | trophy, winner's cup
eggplant | vegetable | eggplant, aubergine
balloon | thing | balloon
crab | animal | crab
broccoli | vegetable | broccoli
camera | thing | camera, photo camera
rose | plant | rose
dolphin | animal | dolphin
kite | thing | kite
peach | fruit | peach
frog | animal | frog, toad
tomato | vegetable | tomato
chair | furniture | chair
ambulance | vehicle | ambulance
ice-cream | food | bowl of ice cream, ice cream sundae
rooster | animal | rooster, cockerel
teapot | thing | teapot
palm-tree | plant | palm tree, palm
shark | animal | shark
saxophone | music | saxophone, sax
dress | clothing | dress, gown
pear | fruit | pear
motorcycle | vehicle | motorcycle, motorbike
fish | animal | fish
backpack | clothing | backpack, rucksack
avocado | fruit | avocado
lady-beetle | animal | ladybird, ladybug
ear-of-corn | vegetable | corn, ear of corn, maize
t-shirt | clothing | t-shirt, tee
magnet | tool | magnet
lobster | animal | lobster
wine-glass | drink | wine glass, glass of wine
red-apple | fruit | apple
croissant | food | croissant
locomotive | vehicle | steam train, locomotive
necktie | clothing | shirt and tie, necktie
kangaroo | animal | kangaroo
maple-leaf | plant | maple leaf
microscope | tool | microscope
cow | animal | cow
drum | music | drum
kiwi-fruit | fruit | kiwi, kiwi fruit
top-hat | clothing | top hat
parrot | animal | parrot
hot-pepper | vegetable | chili pepper, hot pepper, chilli
tent | building | tent, camping tent
alarm-clock | thing | alarm clock
jeans | clothing | jeans, trousers
flamingo | animal | flamingo
beer-mug | drink | beer mug, mug of beer
telescope | tool | telescope
horse | animal | horse
baseball | sport | baseball
house | building | house, home
cookie | food | cookie, biscuit
rabbit | animal | rabbit, bunny
lollipop | food | lollipop, lolly
axe | tool | axe, hatchet
cloud | nature | cloud
duck | animal | duck
coconut | fruit | coconut
bed | furniture | bed
tiger | animal | tiger
running-shoe | clothing | sneaker, running shoe, trainer
microphone | music | microphone, mic
french-fries | food | french fries, fries, chips
delivery-truck | vehicle | delivery truck, truck, lorry
gem-stone | thing | gem, diamond, jewel
squid | animal | squid
cupcake | food | cupcake, muffin
onion | vegetable | onion
wrench | tool | wrench, spanner
books | thing | stack of books, books
honeybee | animal | bee, honeybee
american-football | sport | american football
lipstick | thing | lipstick
pig | animal | pig, hog
deciduous-tree | plant | tree, leafy tree
bread | food | bread, loaf of bread
envelope | thing | envelope, letter
camel | animal | camel
socks | clothing | socks, pair of socks
garlic | vegetable | garlic
teddy-bear | thing | teddy bear, teddy
satellite | vehicle | satellite
sandwich | food | sandwich
hibiscus | plant | hibiscus
giraffe | animal | giraffe
bowling | sport | bowling ball and pins, bowling pins
ring | thing | ring, diamond ring
cheese-wedge | food | cheese, wedge of cheese
dragon | animal | dragon
toilet | furniture | toilet
hot-beverage | drink | cup of coffee, coffee, tea
syringe | tool | syringe, needle
peacock | animal | peacock
potato | vegetable | potato
ship | vehicle | ship, cruise ship
glasses | clothing | glasses, spectacles
swan | animal | swan
taco | food | taco
door | furniture | door
mango | fruit | mango
crocodile | animal | crocodile, alligator
pencil | tool | pencil
birthday-cake | food | birthday cake, cake
musical-keyboard | music | piano keys, keyboard
goat | animal | goat
sushi | food | sushi
fire-extinguisher | tool | fire extinguisher
cucumber | vegetable | cucumber
billed-cap | clothing | cap, baseball cap
bear | animal | bear
zebra | animal | zebra
melon | fruit | melon
bathtub | furniture | bathtub, bath
lizard | animal | lizard, gecko
pretzel | food | pretzel
scorpion | animal | scorpion
volleyball | sport | volleyball
hospital | building | hospital
kick-scooter | vehicle | kick scooter, scooter
shrimp | animal | shrimp, prawn
coat | clothing | coat, jacket
basket | thing | basket
laptop | thing | laptop, notebook computer
telephone | thing | telephone, phone
cocktail-glass | drink | cocktail, cocktail glass
leopard | animal | leopard
game-die | sport | die, dice
castle | building | castle
ewe | animal | sheep, ewe
popcorn | food | popcorn
skateboard | sport | skateboard
canoe | vehicle | canoe
bikini | clothing | bikini
seal | animal | seal
bucket | tool | bucket, pail
spoon | tool | spoon
sloth | animal | sloth
candy | food | candy, sweet
volcano | nature | volcano
gloves | clothing | gloves, pair of gloves
church | building | church
mouse | animal | mouse
toolbox | tool | toolbox
hedgehog | animal | hedgehog
fountain | building | fountain
chestnut | plant | chestnut
mosquito | animal | mosquito
military-medal | thing | medal
banjo | music | banjo
accordion | music | accordion
hourglass-done | thing | hourglass
maracas | music | maracas
thermometer | tool | thermometer
four-leaf-clover | plant | four leaf clover, clover
snowman-without-snow | thing | snowman
ice-skate | sport | ice skate
screwdriver | tool | screwdriver
ferris-wheel | building | ferris wheel, big wheel
broom | tool | broom
fork-and-knife | tool | fork and knife, cutlery
compass | tool | compass
hippopotamus | animal | hippo, hippopotamus
couch-and-lamp | furniture | couch and lamp, sofa
blueberries | fruit | blueberries
wolf | animal | wolf
lotus | plant | lotus
womans-hat | clothing | sun hat
handbag | clothing | handbag, purse
chicken | animal | chicken
"""

STYLES = ("noto", "fluent", "twemoji", "fxemoji")
"""The drawing styles the world ships; the last is held out of training: the "new look"."""

NEW_LOOK = "fxemoji"

CONCEPTS: tuple[WorldConcept, ...] = tuple(
    WorldConcept(icon, kind, tuple(word.strip() for word in words.split(",")))
    for icon, kind, words in ([cell.strip() for cell in line.split("|")] for line in _TABLE.strip().splitlines())
)
