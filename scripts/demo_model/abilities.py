"""What tools can do in the dialogues: how they may be named and described, and how people ask for them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripts.demo_model import words

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """``names`` are what the schema may call it; ``slot`` is its place in the question."""

    slot: str
    names: tuple[str, ...]
    value: Callable[[random.Random], Any]
    type: str = "string"
    enum: tuple[str, ...] = ()
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Ability:
    """Something a tool can do. A question without the slot of an optional parameter leaves that argument out."""

    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    questions: tuple[str, ...]
    result: Callable[[random.Random], Any]


def _weather(rng: random.Random) -> Json:
    sky = rng.choice(["sunny", "cloudy", "rainy", "windy", "snow", "clear", "fog", words.invent(rng)])
    return {
        rng.choice(["temperature", "temp", "degrees"]): rng.randrange(-20, 45),
        rng.choice(["sky", "condition", "weather"]): sky,
    }


def any_number(rng: random.Random) -> int:
    return rng.randrange(10 ** rng.randrange(1, 4))


def _text(rng: random.Random) -> str:
    return words.some_phrase(rng, 4)


_CITY = Parameter("city", ("city", "city", "location", "place", "town", "city_name"), words.some_city)
_UNIT = Parameter(
    "unit",
    ("unit", "units"),
    lambda rng: rng.choice(["celsius", "fahrenheit"]),
    enum=("celsius", "fahrenheit"),
    is_optional=True,
)

WEATHER = Ability(
    ("get_weather", "get_weather", "weather", "get_current_weather", "current_weather", "lookup_weather"),
    (
        "Get the weather for a city",
        "Get the current weather",
        "Current weather in a city",
        "Returns the weather at a place",
    ),
    (_CITY, _UNIT),
    (
        "(what is|what's|how is|tell me|check|get|show me) the (weather|current weather|temperature|weather like) "
        "in {city}( today| now|)",
        "(what is|what's) the (weather|temperature) in {city} in {unit}",
        "(is it|will it be) (raining|sunny|cold|warm|hot|cloudy|snowing) in {city}( today| now|)",
        "weather in {city}( in {unit}|)",
        "do i need an umbrella in {city}",
    ),
    _weather,
)
TIME = Ability(
    ("get_time", "time", "current_time", "get_current_time", "local_time"),
    ("Get the time in a city", "Get the current time", "Local time at a place"),
    (_CITY,),
    (
        "(what time is it|what is the time|what's the time|tell me the time|how late is it) in {city}( now|)",
        "(current|local) time in {city}",
    ),
    lambda rng: {"time": f"{rng.randrange(24):02}:{rng.randrange(60):02}"},
)
TRANSLATE = Ability(
    ("translate", "translate_text", "get_translation"),
    ("Translate a text", "Translate text into another language"),
    (
        Parameter("text", ("text", "phrase", "sentence"), _text),
        Parameter("language", ("language", "target", "to"), lambda rng: rng.choice(words.LANGUAGES)),
    ),
    (
        "translate '{text}' (to|into) {language}",
        "(what is|how do i say) '{text}' in {language}",
        'translate "{text}" (to|into) {language}',
    ),
    _text,
)
SEARCH = Ability(
    ("search", "web_search", "search_web", "find"),
    ("Search the web", "Search for pages", "Find pages on the web"),
    (Parameter("query", ("query", "query", "q", "text", "search_term"), _text),),
    ("(search for|search the web for|look up|find pages about|find|google) {query}", "search {query}"),
    _text,
)
MESSAGE = Ability(
    ("send_message", "message", "send_email", "send_text"),
    ("Send a message to a person", "Send a text to someone"),
    (
        Parameter("name", ("to", "recipient", "person", "name"), words.some_name),
        Parameter("text", ("text", "message", "body"), _text),
    ),
    (
        "(send|write) {name} (a message|the message|an email): {text}",
        "(tell|message) {name}: {text}",
        "send '{text}' to {name}",
    ),
    lambda _: {"status": "sent"},
)
TIMER = Ability(
    ("set_timer", "start_timer", "timer", "set_alarm"),
    ("Set a timer", "Start a timer for some minutes"),
    (Parameter("minutes", ("minutes", "duration", "minutes"), lambda rng: rng.randrange(1, 100), "integer"),),
    (
        "(set|start) a timer (for|of) {minutes} minutes",
        "(wake me|remind me|alarm) in {minutes} minutes",
        "timer for {minutes} minutes",
    ),
    lambda _: {"status": "started"},
)
CONVERT = Ability(
    ("convert_currency", "exchange", "currency", "convert"),
    ("Convert an amount of money", "Convert between currencies"),
    (
        Parameter("amount", ("amount", "value"), any_number, "number"),
        Parameter("source", ("from", "source", "from_currency"), lambda rng: rng.choice(words.CURRENCIES)),
        Parameter("target", ("to", "target", "to_currency"), lambda rng: rng.choice(words.CURRENCIES)),
    ),
    (
        "(convert|change|exchange) {amount} {source} (to|into) {target}",
        "how much is {amount} {source} in {target}",
        "(what is|what are) {amount} {source} in {target}",
    ),
    any_number,
)
LIST_FILES = Ability(
    ("list_files", "list_folder", "ls", "get_files"),
    ("List the files in a folder", "Files of a directory"),
    (Parameter("path", ("path", "folder", "directory"), words.some_path),),
    ("(list the files in|show the files in|what files are in|which files are in|what is in|list) {path}",),
    _text,
)
CALCULATOR = Ability(
    ("calculator", "calculate", "add_numbers", "math"),
    ("Calculate a sum", "Do a calculation", "Calculate with two numbers"),
    (
        Parameter("a", ("a", "x", "first", "left"), any_number, "number"),
        Parameter("operator", ("operator", "operation", "op"), lambda rng: rng.choice("+-*"), enum=("+", "-", "*")),
        Parameter("b", ("b", "y", "second", "right"), any_number, "number"),
    ),
    (),
    any_number,
)
EXPRESSION = Ability(
    ("calculator", "calculate", "evaluate", "eval_math"),
    ("Evaluate an expression", "Calculate the value of an expression", "Calculator"),
    (Parameter("expression", ("expression", "expr", "formula"), lambda _: ""),),
    (),
    any_number,
)


def made_up(rng: random.Random) -> Ability:
    """A tool that nobody has seen: only its name and description tell what it is for."""
    verb, noun = rng.choice(words.VERBS), rng.choice(words.NOUNS)
    if rng.random() < 0.3:
        noun = words.invent(rng)
    parameter = rng.choice(["name", "title", "id", f"{noun}", f"{noun}_name", words.invent(rng)])
    is_number = rng.random() < 0.25
    value = Parameter(
        "value",
        (parameter,),
        any_number if is_number else (lambda r: words.some_phrase(r, 2)),
        "integer" if is_number else "string",
    )
    return Ability(
        (f"{verb}_{noun}",),
        (f"{verb.capitalize()} a {noun}",),
        (value,),
        (
            f"{verb} (the|a|my) {noun} {{value}}",
            f"{verb} {noun} {{value}}",
            f"(i want to|can you|could you) {verb} the {noun} {{value}}",
        ),
        lambda r: {"status": r.choice(["ok", "done", words.invent(r)])},
    )


ABILITIES = (
    WEATHER,
    WEATHER,
    WEATHER,
    TIME,
    TRANSLATE,
    SEARCH,
    MESSAGE,
    TIMER,
    CONVERT,
    LIST_FILES,
    CALCULATOR,
    EXPRESSION,
)
