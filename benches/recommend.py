#!/usr/bin/env python3
"""How long `sluicebox recommend --stdin` takes to answer: the time on the wall from a question's line to its answer's, through two pipes.

    python3 benches/recommend.py --binary target/release/sluicebox --items 10000

Trains a little on a log in which every item is shown, publishes, asks, for a softmax policy with and without its tilt and for a
Gaussian one over a catalog. Prints one JSON object per policy. `--below 2` fails when a 99th percentile is above 2 ms.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

DIMENSION = 32
SETTINGS = """
[mapping]
context_dimension = {dimension}
[score]
kind = "reward"
baseline = "none"
[filter]
kappa = 1.0
warmup = "admit"
[learner]
policy = "{policy}"
objective = "bc"
replay_ratio = 0.1
tilt = {tilt}
[state]
history = {{ length = 0, pooling = "none" }}
"""
CATALOG = '[catalog]\nfile = "{path}"\n'


def numbers(draws):
    return [round(draws.uniform(-1, 1), 5) for _ in range(DIMENSION)]


def decision(draws, number):
    time_ms = 1_767_225_600_000 + 60_000 * number
    return {"type": "decision", "ts": time_ms, "user": f"u{number}", "context": numbers(draws)}


def publish(directory, options, policy, tilt):
    draws = random.Random(1)
    settings = SETTINGS.format(dimension=DIMENSION, policy=policy, tilt=tilt)
    if policy == "gaussian":
        catalog = directory / "items.jsonl"
        lines = (json.dumps({"item": f"i{item}", "embedding": numbers(draws)}) for item in range(options.items))
        catalog.write_text("\n".join(lines))
        settings += CATALOG.format(path=catalog)
    (directory / "settings.toml").write_text(settings)
    with open(directory / "log.jsonl", "w") as log:
        for number in range(options.items + options.items // 10):
            shown = {"item": f"i{number % options.items}", "propensity": 0.5, "reward": number % 3}
            print(json.dumps(decision(draws, number) | shown), file=log)
    command = ["replay", "--file", directory / "log.jsonl", "--state", directory / "state", "--publish", "--json"]
    subprocess.run([options.binary, *command, "-c", directory / "settings.toml"], check=True, capture_output=True)


def ask(directory, options, more):
    draws = random.Random(2)
    command = [options.binary, "recommend", "--policy", directory / "state", "-c", directory / "settings.toml", "--stdin", *more]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
    answers, waited = process.stdout, []
    for number in range(options.questions):
        question = json.dumps({"session": f"s{number}", "decision": decision(draws, number), "top": 10}).encode() + b"\n"
        start = time.perf_counter()
        process.stdin.write(question)
        line = b""
        while not line.endswith(b"\n"):
            line += answers.read(65_536)
        waited.append((time.perf_counter() - start) * 1e3)
        answer = json.loads(line)
        assert len(answer.get("items", ())) == 10, answer
    process.stdin.close()
    process.wait()
    waited = sorted(waited[100:])
    return {f"p{share}_ms": round(waited[int(len(waited) * share / 100)], 3) for share in (50, 99)} | {"max_ms": round(waited[-1], 3)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/sluicebox")
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--questions", type=int, default=3_000)
    parser.add_argument("--below", type=float)
    options, slow = parser.parse_args(), False
    for policy, tilt in (("softmax", 0.0), ("softmax", 2.0), ("gaussian", 0.0)):
        with tempfile.TemporaryDirectory() as name:
            directory = pathlib.Path(name)
            publish(directory, options, policy, tilt)
            for order, more in (("best first", []), ("sampled", ["--sample"])):
                found = ask(directory, options, more)
                slow |= options.below is not None and found["p99_ms"] > options.below
                print(json.dumps({"policy": policy, "tilt": tilt, "items": options.items, "order": order} | found), flush=True)
    sys.exit(1 if slow else 0)


if __name__ == "__main__":
    main()
