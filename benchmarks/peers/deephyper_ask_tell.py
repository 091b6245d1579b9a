"""DeepHyper's CBO, asked and told over standard input and output: one JSON object a line, one answer each."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from ConfigSpace import InCondition
from deephyper.hpo import CBO
from deephyper.hpo import HpProblem


def make_problem(space: list[dict[str, Any]]) -> HpProblem:
    """The space as DeepHyper has it."""
    problem = HpProblem()
    made: dict[str, Any] = {}
    for item in space:
        made[item["name"]] = problem.add_hyperparameter(_range(item), item["name"])
    for item in space:
        # The innermost condition: its parent is only active if the others hold.
        for parent, values in item["conditions"][-1:]:
            problem.add_condition(InCondition(made[item["name"]], made[parent], values))
    return problem


def _range(item: dict[str, Any]) -> Any:
    if item["kind"] == "choice":
        return list(item["values"])
    number = int if item["kind"] == "int" else float
    low, high = number(item["low"]), number(item["high"])
    if item["step"] and number is float:
        steps = round((high - low) / item["step"])
        return [low + index * item["step"] for index in range(steps + 1)]
    return (low, high, "log-uniform") if item["log"] else (low, high)


def main() -> None:
    """Answer until the input ends."""
    logging.getLogger("deephyper").setLevel(logging.ERROR)
    # What DeepHyper prints must not come between answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    search: Any = None
    asked: dict[int, dict[str, Any]] = {}
    for line in sys.stdin:
        message = json.loads(line)
        answer: dict[str, Any] = {}
        if "space" in message:
            search = CBO(make_problem(message["space"]), random_state=message["seed"], log_dir=sys.argv[1])
        elif "ask" in message:
            (asked[message["ask"]],) = search.ask(1)
            answer = {"values": asked[message["ask"]]}
        else:
            search.tell([(asked.pop(message["tell"]), -message["loss"])])
        answers.write(json.dumps(answer, default=_plain) + "\n")
        answers.flush()


def _plain(value: Any) -> Any:
    return value.item()


if __name__ == "__main__":
    main()
