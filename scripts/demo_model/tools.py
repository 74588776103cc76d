"""Tool calls: functions offered in many forms, questions that need one of them, and the calls they lead to.

Names, parameters, descriptions and values vary, so that the model has to read the offer and copy from the question.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

from scripts.demo_model.abilities import ABILITIES, CALCULATOR, EXPRESSION, Ability, Json, any_number, made_up
from scripts.demo_model.patterns import add_noise, sample
from scripts.demo_model.skills import fill, sum_words


@dataclass(frozen=True, slots=True)
class Offer:
    """One ability as it was offered: the schema the client sends, and the names in it."""

    ability: Ability
    name: str
    parameter_names: tuple[str, ...]
    schema: Json


def offer(ability: Ability, rng: random.Random) -> Offer:
    """``ability`` as some client might send it: keys, order and detail differ from client to client."""
    names = tuple(rng.choice(parameter.names) for parameter in ability.parameters)
    optional_too = rng.random() < 0.6
    is_detailed = rng.random() < 0.4
    properties: Json = {}
    for parameter, name in zip(ability.parameters, names, strict=True):
        if parameter.is_optional and not optional_too:
            continue
        schema: Json = {"type": parameter.type}
        if is_detailed:
            schema["description"] = rng.choice([f"The {name}", name.capitalize(), f"{name} to use"])
        if parameter.enum:
            schema["enum"] = list(parameter.enum)
        properties[name] = schema
    parameters: Json = {"type": "object", "properties": properties}
    if rng.random() < 0.7:
        parameters["required"] = [n for n, p in zip(names, ability.parameters, strict=True) if not p.is_optional]
    if rng.random() < 0.15:
        parameters["additionalProperties"] = False
    function: Json = {"name": rng.choice(ability.names)}
    if rng.random() < 0.85:
        function["description"] = rng.choice(ability.descriptions) + rng.choice(["", "", "."])
    function["parameters"] = parameters
    return Offer(ability, function["name"], names, {"type": "function", "function": function})


def some_offers(rng: random.Random) -> list[Offer]:
    """One to three tools with different names that do different things."""
    abilities: list[Ability] = []
    for _ in range(rng.choice([1, 2, 2, 3])):
        ability = made_up(rng) if rng.random() < 0.25 else rng.choice(ABILITIES)
        clashes = ability in abilities or ({ability, *abilities} >= {CALCULATOR, EXPRESSION})
        if not clashes:
            abilities.append(ability)
    offers = {made.name: made for made in (offer(ability, rng) for ability in abilities)}
    return list(offers.values())


def ask(made: Offer, rng: random.Random) -> tuple[str, Json]:
    """A question for the tool, and the arguments that answer it, in the order of the schema."""
    if made.ability in (CALCULATOR, EXPRESSION):
        return _ask_sum(made, rng)
    has_all = set(made.parameter_names) == set(made.schema["function"]["parameters"]["properties"])
    questions = made.ability.questions
    if not has_all:
        questions = tuple(text for text in questions if "{unit}" not in text)
    pattern = add_noise(sample(rng.choice(questions), rng), rng)
    values = {parameter.slot: parameter.value(rng) for parameter in made.ability.parameters}
    arguments = {
        name: values[parameter.slot]
        for parameter, name in zip(made.ability.parameters, made.parameter_names, strict=True)
        if f"{{{parameter.slot}}}" in pattern
    }
    return fill(pattern, {slot: str(value) for slot, value in values.items()}), arguments


def _ask_sum(made: Offer, rng: random.Random) -> tuple[str, Json]:
    a, operator, b = any_number(rng), rng.choice("+-*"), any_number(rng)
    question = add_noise(sum_words(rng, a, operator, b), rng)
    if made.ability is EXPRESSION:
        return question, {made.parameter_names[0]: f"{a} {operator} {b}"}
    return question, dict(zip(made.parameter_names, (a, operator, b), strict=True))


def call_text(name: str, arguments: Json) -> str:
    """The call as the model writes it; the chat template renders an earlier call to the same text."""
    call = {"name": name, "arguments": arguments}
    return f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"


def result_and_answer(ability: Ability, rng: random.Random) -> tuple[str, str]:
    """What the tool returns, as JSON or plain text, and what the model makes of it."""
    result = ability.result(rng)
    if isinstance(result, dict):
        said = ", ".join(f"{key} {value}" for key, value in result.items())
        text = json.dumps(result) if rng.random() < 0.6 else said
    else:
        said = text = str(result)
    return text, f"Here is the result: {said}."
