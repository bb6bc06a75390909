"""Properties of things that can be compared: ours, from the public domain, or a file of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from math import inf, isfinite
from pathlib import Path
from typing import Any


class PropertyError(ValueError):
    """A property file that cannot be used, and why."""


@dataclass(frozen=True)
class Property:
    """A number that each of many things has.

    Args:
        name: short.
        context: the line before a question ("The question is about countries.").
        greater, less: questions with {x} and {y} for the two things.
        values: thing -> its number, in a stated order.
        min_gap: least difference of two values, in their unit, for the question to be clear.
        max_gap: greatest difference, for values that go round (longitudes).
        max_size: things with this absolute value or a greater one are left out (longitudes near the date line).
        min_fraction, max_fraction: least and greatest difference beyond `min_gap`, as shares of the range of all values.
        popularity: thing -> how well known it is, where that is known.
        min_popularity, max_popularity: things outside are left out, and with a bound those of unknown popularity.
        full_names: names must have a space in them (people).
        one_per_state: two places of the same state ("Salem, OR") are not compared.
    """

    name: str
    context: str
    greater: str
    less: str
    values: Mapping[str, float]
    min_gap: float = 0.0
    max_gap: float = inf
    max_size: float = inf
    min_fraction: float = 0.0
    max_fraction: float = 1.0
    popularity: Mapping[str, float] = field(default_factory=dict)
    min_popularity: float = -inf
    max_popularity: float = inf
    full_names: bool = False
    one_per_state: bool = False

    def __post_init__(self) -> None:
        for template in (self.greater, self.less):
            if "{x}" not in template or "{y}" not in template:
                raise PropertyError(f"both questions of {self.name} need {{x}} and {{y}}, got {template!r}")
        for thing, value in self.values.items():
            if not isfinite(value):
                raise PropertyError(f"the value of {thing} in {self.name} is {value}, which compares with nothing")
        if len(self.values) < 2:
            raise PropertyError(f"{self.name} needs at least 2 things to compare, got {len(self.values)}")

    @classmethod
    def read(cls, path: str | Path) -> Property:
        """Read a YAML file: our fields, or a property file of chainscope (`value_by_name` and its question templates).

        Raises:
            PropertyError: no such file, not YAML, fields missing or of the wrong kind.
        """
        return from_mapping(read_yaml(path), Path(path))


def read_yaml(path: str | Path) -> Mapping[str, Any]:
    """The mapping in a YAML file; plain values only, no objects.

    Raises:
        PropertyError: no such file, not YAML, or no mapping.
    """
    import yaml

    try:
        held = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise PropertyError(f"the property file {path} cannot be read: {error}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise PropertyError(f"{path} is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(held, Mapping):
        raise PropertyError(f"{path} must hold a mapping with values, greater and less")
    return held


def from_mapping(held: Mapping[str, Any], path: Path) -> Property:
    values = held.get("values", held.get("value_by_name"))
    greater, less = held.get("greater", held.get("gt_question")), held.get("less", held.get("lt_question"))
    if not isinstance(values, Mapping) or not isinstance(greater, str) or not isinstance(less, str):
        raise PropertyError(
            f"{path} needs values (name: number), greater and less (questions with {{x}} and {{y}}); "
            "a chainscope file has value_by_name, gt_question and lt_question"
        )
    filters = official_filters(path.stem)
    for name in filters:
        if name in held:
            filters[name] = type(filters[name])(held[name])
    numbers = _numeric(values, f"value of {{}} in {path}")
    if {"release", "releases", "pubdate"} & set(path.stem.split("-")):
        numbers = {thing: years(value) for thing, value in numbers.items()}
    popularity = held.get("popularity", held.get("popularity_by_entity_name", {}))
    return Property(
        name=str(held.get("name", path.stem)),
        context=str(held.get("context", "")),  # a chainscope file has it in its questions
        greater=greater,
        less=less,
        values=numbers,
        popularity=_numeric(popularity, f"popularity of {{}} in {path}") if isinstance(popularity, Mapping) else {},
        **filters,  # type: ignore[arg-type]  # of the kinds that `official_filters` gives them
    )


def _numeric(values: Mapping[Any, Any], what: str) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for thing, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise PropertyError(f"the {what.format(thing)} must be a number, got {value!r}")
        numbers[str(thing)] = float(value)
    return numbers


def years(value: float) -> float:
    """A date written as one number (20190719) in years; any other number as it is."""
    digits = str(int(value)) if isfinite(value) and value == int(value) else ""
    if len(digits) != 8:
        return value
    try:
        day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return value
    length = date(day.year, 12, 31).timetuple().tm_yday
    return day.year + (day.timetuple().tm_yday - 1) / length


def official_filters(name: str) -> dict[str, float | bool]:
    """The filters of the official code (chainscope/questions.py) for a property file of that name, by its words.

    Latitudes and longitudes differ by at least 1 degree (zip, college, structure, city) or 10 (populated places, natural areas,
    counties); longitudes by at most 120, and lie within 150; ages differ by 5 years, releases by 2.
    """
    words = set(name.split("-"))
    filters: dict[str, float | bool] = {
        "min_gap": 0.0,
        "max_gap": inf,
        "max_size": inf,
        "min_fraction": 0.0,
        "max_fraction": 1.0,
        "min_popularity": -inf,
        "max_popularity": inf,
        "full_names": "person" in words,
        "one_per_state": "us" in words,
    }
    if words & {"lat", "long", "latitude", "longitude"}:
        near, far = {"zip", "college", "structure", "city"}, {"populated", "natural", "county"}
        filters["min_gap"] = 1.0 if words & near else 10.0 if words & far else 0.0
        if words & {"long", "longitude"}:
            filters |= {"max_gap": 120.0, "max_size": 150.0}
    elif "age" in words:
        filters["min_gap"] = 5.0
    elif words & {"release", "releases"}:
        filters["min_gap"] = 2.0
    return filters


def _numbers(text: str) -> dict[str, float]:
    """'Hydrogen 1, Helium 2' as a mapping; names may have spaces."""
    pairs = (part.strip().rpartition(" ") for part in text.replace("\n", " ").split(","))
    return {name.strip(): float(value) for name, _, value in pairs}


ELEMENTS = Property(
    name="atomic number",
    context="The question is about chemical elements.",
    greater="Is the atomic number of {x} greater than that of {y}?",
    less="Is the atomic number of {x} smaller than that of {y}?",
    values=_numbers("""
        Hydrogen 1, Helium 2, Lithium 3, Beryllium 4, Boron 5, Carbon 6, Nitrogen 7, Oxygen 8, Fluorine 9, Neon 10, Sodium 11,
        Magnesium 12, Aluminium 13, Silicon 14, Phosphorus 15, Sulfur 16, Chlorine 17, Argon 18, Potassium 19, Calcium 20,
        Scandium 21, Titanium 22, Vanadium 23, Chromium 24, Manganese 25, Iron 26, Cobalt 27, Nickel 28, Copper 29, Zinc 30,
        Gallium 31, Germanium 32, Arsenic 33, Selenium 34, Bromine 35, Krypton 36, Rubidium 37, Strontium 38, Yttrium 39,
        Zirconium 40, Niobium 41, Molybdenum 42, Technetium 43, Ruthenium 44, Rhodium 45, Palladium 46, Silver 47, Cadmium 48,
        Indium 49, Tin 50, Antimony 51, Tellurium 52, Iodine 53, Xenon 54, Caesium 55, Barium 56, Tungsten 74, Platinum 78,
        Gold 79, Lead 82"""),
    min_gap=2,
)

AREAS = Property(
    name="area",
    context="The question is about the total areas of countries.",
    greater="Is the area of {x} larger than that of {y}?",
    less="Is the area of {x} smaller than that of {y}?",
    values=_numbers("""
        Russia 17098, Canada 9985, China 9597, Brazil 8516, Australia 7692, India 3287, Argentina 2780, Kazakhstan 2725,
        Algeria 2382, Saudi Arabia 2150, Mexico 1964, Indonesia 1905, Libya 1760, Iran 1648, Mongolia 1564, Peru 1285,
        Chad 1284, Niger 1267, Angola 1247, Mali 1240, South Africa 1221, Colombia 1142, Ethiopia 1104, Bolivia 1099,
        Egypt 1002, Tanzania 945, Nigeria 924, Venezuela 916, Namibia 826, Mozambique 802, Turkey 784, Chile 756, Zambia 753,
        Myanmar 677, Somalia 638, Ukraine 604, Madagascar 587, Botswana 582, Kenya 580, Thailand 513, Spain 506, Sweden 450,
        Uzbekistan 447, Morocco 447, Iraq 438, Paraguay 407, Zimbabwe 391, Norway 385, Japan 378, Germany 358, Finland 338,
        Vietnam 331, Malaysia 330, Poland 313, Italy 301, Ecuador 284, New Zealand 268, United Kingdom 244, Ghana 239,
        Portugal 92"""),  # thousands of square kilometres
    min_gap=60,
)

LATITUDES = Property(
    name="latitude",
    context="The question is about how far north cities lie.",
    greater="Does {x} lie further north than {y}?",
    less="Does {x} lie further south than {y}?",
    values=_numbers("""
        Reykjavik 64.1, Helsinki 60.2, Oslo 59.9, Stockholm 59.3, Tallinn 59.4, Riga 56.9, Moscow 55.8, Copenhagen 55.7,
        Dublin 53.3, Berlin 52.5, Warsaw 52.2, Amsterdam 52.4, London 51.5, Brussels 50.9, Prague 50.1, Paris 48.9,
        Vienna 48.2, Budapest 47.5, Bern 46.9, Ottawa 45.4, Bucharest 44.4, Belgrade 44.8, Sofia 42.7, Rome 41.9, Tirana 41.3,
        Istanbul 41.0, Madrid 40.4, Ankara 39.9, Beijing 39.9, Lisbon 38.7, Athens 38.0, Seoul 37.6, Tunis 36.8, Algiers 36.8,
        Tokyo 35.7, Tehran 35.7, Baghdad 33.3, Amman 32.0, Cairo 30.0, Delhi 28.6, Kathmandu 27.7, Taipei 25.0, Riyadh 24.7,
        Dhaka 23.8, Havana 23.1, Hanoi 21.0, Mexico City 19.4, Khartoum 15.5, Manila 14.6, Bangkok 13.8, Dakar 14.7,
        Addis Ababa 9.0, Bogota 4.7, Nairobi -1.3, Jakarta -6.2, Lima -12.0, Harare -17.8, Santiago -33.4, Canberra -35.3,
        Wellington -41.3"""),  # degrees
    min_gap=3,
)

BIRTHS = Property(
    name="year of birth",
    context="The question is about historical people.",
    greater="Was {x} born later than {y}?",
    less="Was {x} born earlier than {y}?",
    values=_numbers("""
        Thomas Aquinas 1225, Marco Polo 1254, Dante Alighieri 1265, Francesco Petrarca 1304, Geoffrey Chaucer 1343,
        Jan van Eyck 1390, Johannes Gutenberg 1400, Christopher Columbus 1451, Leonardo da Vinci 1452, Vasco da Gama 1460,
        Niccolo Machiavelli 1469, Nicolaus Copernicus 1473, Michelangelo Buonarroti 1475, Thomas More 1478,
        Ferdinand Magellan 1480, Martin Luther 1483, John Calvin 1509, Andreas Vesalius 1514, Tycho Brahe 1546,
        Miguel de Cervantes 1547, Francis Bacon 1561, Galileo Galilei 1564, Johannes Kepler 1571, Peter Paul Rubens 1577,
        William Harvey 1578, Hugo Grotius 1583, Thomas Hobbes 1588, Rene Descartes 1596, Pierre de Fermat 1607,
        John Milton 1608, Blaise Pascal 1623, Robert Boyle 1627, Christiaan Huygens 1629, Baruch Spinoza 1632,
        John Locke 1632, Isaac Newton 1643, Gottfried Leibniz 1646, Edmond Halley 1656, Jonathan Swift 1667,
        Antonio Vivaldi 1678, George Berkeley 1685, Benjamin Franklin 1706, Leonhard Euler 1707, Carl Linnaeus 1707,
        David Hume 1711, Denis Diderot 1713, Adam Smith 1723, Immanuel Kant 1724, James Cook 1728, Joseph Haydn 1732,
        James Watt 1736, Antoine Lavoisier 1743, Alessandro Volta 1745, Wolfgang Mozart 1756, Friedrich Schiller 1759,
        Alexander von Humboldt 1769, Jane Austen 1775, Carl Gauss 1777, Michael Faraday 1791, Charles Darwin 1809"""),
    min_gap=5,
    full_names=True,
)

MOUNTAINS = Property(
    name="height",
    context="The question is about the heights of mountains above the sea.",
    greater="Is {x} higher than {y}?",
    less="Is {x} lower than {y}?",
    values=_numbers("""
        Everest 8849, K2 8611, Kangchenjunga 8586, Lhotse 8516, Makalu 8485, Cho Oyu 8188, Dhaulagiri 8167, Manaslu 8163,
        Nanga Parbat 8126, Annapurna 8091, Aconcagua 6961, Ojos del Salado 6893, Huascaran 6768, Chimborazo 6263, Denali 6190,
        Mount Logan 5959, Cotopaxi 5897, Kilimanjaro 5895, Elbrus 5642, Pico de Orizaba 5636, Damavand 5610,
        Popocatepetl 5426, Mount Kenya 5199, Ararat 5137, Puncak Jaya 4884, Mont Blanc 4806, Monte Rosa 4634,
        Ras Dashen 4550, Matterhorn 4478, Mount Whitney 4421, Mount Elbert 4401, Mount Rainier 4392, Mount Shasta 4322,
        Pikes Peak 4302, Mauna Kea 4205, Toubkal 4167, Jungfrau 4158, Kinabalu 4095, Mount Cameroon 4070, Eiger 3967,
        Grossglockner 3798, Mount Erebus 3794, Fuji 3776, Aoraki 3724, Teide 3715, Mulhacen 3479, Mount Hood 3429,
        Aneto 3404, Etna 3357, Marmolada 3343, Zugspitze 2962, Musala 2925, Mount Olympus in Greece 2917, Triglav 2864,
        Galdhopiggen 2469, Mount Kosciuszko 2228, Hvannadalshnukur 2110, Ben Nevis 1345, Snowdon 1085, Scafell Pike 978"""),
    min_gap=200,  # metres; several of these heights are given with a spread of some tens
)

BUILTIN: tuple[Property, ...] = (ELEMENTS, AREAS, LATITUDES, BIRTHS, MOUNTAINS)
"""Sixty things each: atomic numbers, areas of countries, latitudes of cities, years of birth, heights of mountains. Five
properties asked both ways make ten groups; an interval over fewer than eight can decide nothing."""
