"""Properties of things that can be compared: ours, from the public domain, or a file of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
        max_size: things with a greater absolute value are left out (longitudes near the date line).
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
        import yaml

        try:
            held = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            raise PropertyError(f"the property file {path} cannot be read: {error}") from error
        except (yaml.YAMLError, RecursionError) as error:
            raise PropertyError(f"{path} is not YAML: {str(error).splitlines()[0]}") from error
        if not isinstance(held, Mapping):
            raise PropertyError(f"{path} must hold a mapping with values, greater and less")
        return _from_mapping(held, Path(path))


def _from_mapping(held: Mapping[str, Any], path: Path) -> Property:
    values = held.get("values", held.get("value_by_name"))
    greater, less = held.get("greater", held.get("gt_question")), held.get("less", held.get("lt_question"))
    if not isinstance(values, Mapping) or not isinstance(greater, str) or not isinstance(less, str):
        raise PropertyError(
            f"{path} needs values (name: number), greater and less (questions with {{x}} and {{y}}); "
            "a chainscope file has value_by_name, gt_question and lt_question"
        )
    numbers: dict[str, float] = {}
    for thing, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise PropertyError(f"the value of {thing} in {path} must be a number, got {value!r}")
        numbers[str(thing)] = float(value)
    filters = official_filters(path.stem)
    for name in filters:
        if name in held:
            filters[name] = type(filters[name])(held[name])
    return Property(
        name=str(held.get("name", path.stem)),
        context=str(held.get("context", held.get("gt_open_ended_question", ""))),
        greater=greater,
        less=less,
        values=numbers,
        min_gap=float(filters["min_gap"]),
        max_gap=float(filters["max_gap"]),
        max_size=float(filters["max_size"]),
        full_names=bool(filters["full_names"]),
        one_per_state=bool(filters["one_per_state"]),
    )


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
        "full_names": "person" in words,
        "one_per_state": "us" in words,
    }
    if words & {"lat", "long", "latitude", "longitude"}:
        filters["min_gap"] = 1.0 if words & {"zip", "college", "structure", "city"} else 10.0
        if words & {"long", "longitude"}:
            filters |= {"max_gap": 120.0, "max_size": 150.0}
    elif "age" in words:
        filters["min_gap"] = 5.0
    elif "release" in words:
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

BUILTIN: tuple[Property, ...] = (ELEMENTS, AREAS, LATITUDES)
"""Sixty things each: atomic numbers, areas of countries, latitudes of cities."""
