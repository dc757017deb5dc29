#!/usr/bin/env python3
"""RecSim's "interest evolution" as a world to learn in: logs of it, and roll-outs of what was learned from them.

    recsim.py log --decisions 127000 --seed 1 --labels labels.csv > log.jsonl    # by a mixture of policies
    recsim.py play --policy DIR --config FILE [--sample] --users 200 --seed 1    # returns of a published policy
    recsim.py play --package ...                                                 # the same in Google's own package
    recsim.py split --log FILE --part N --kept FILE --held-out FILE               # a quarter of the sessions is held out
    recsim.py likelihood --policy DIR --config FILE --log FILE --labels FILE     # of a log's decisions, by who made them
    recsim.py batch --log FILE --objective top|awr --seed 1                      # what it is compared with, trained in batch

`play` and `likelihood` ask `sluicebox recommend --stdin`, event by event, as a service would. Needs numpy; `--package` needs
`pip install 'numpy<2' gym==0.26.2 absl-py six && pip install --no-deps recsim==0.2.4`, neither Dopamine nor TensorFlow. The world is
the one of RecSim 0.2.4 (Google, Apache-2.0) with a slate of one item, written anew from its description: a user has 20
interests in [-1, 1] and 200 minutes. An item of cluster c is watched for 4 minutes with probability (x + 1) / (x + 3), x being the
interest in c; watching moves x, and gives back minutes by the item's quality; passing over costs half a minute. The
return of a session is the time watched.
"""

import argparse
import csv
import gzip
import hashlib
import json
import subprocess
import sys
from unittest.mock import MagicMock

import numpy as np

CLUSTERS, MINUTES, LENGTH, PASSED = 20, 200.0, 4.0, 0.5
GIVEN_BACK = 0.9 / 3.4
QUALITIES = np.concatenate((np.linspace(-3, 0, 14), np.linspace(0, 3, 6)))


class World:
    def __init__(self, items, seed):
        draws = np.random.RandomState(seed)
        pairs = [(cluster, draws.normal(QUALITIES[cluster], 0.1)) for cluster in (draws.randint(0, CLUSTERS) for _ in range(items))]
        self.clusters = np.array([cluster for cluster, _ in pairs])
        self.qualities = np.array([quality for _, quality in pairs])
        self.items = items
        taste = np.exp(1.5 * np.random.default_rng(seed).normal(size=items) + 0.2 * self.qualities)
        self.popular = taste / taste.sum()

    def near_optimal(self, interests, temperature, noise):
        """A softmax over minutes watched less minutes spent, mixed with uniform choice."""
        x = interests[self.clusters]
        watched = (x + 1) / (x + 3)
        spent = watched * LENGTH * (1 - GIVEN_BACK * self.qualities) + (1 - watched) * PASSED
        logits = (LENGTH * watched - spent) / temperature
        weights = np.exp(logits - logits.max())
        return (1 - noise) * weights / weights.sum() + noise / self.items

    def session(self, choose, draws, steps_max=2500):
        """Yields (interests, item, whatever `choose` gave with it, time watched) until the time is up."""
        interests, minutes = draws.uniform(-1, 1, CLUSTERS), MINUTES
        for _ in range(steps_max):
            item, extra = choose(interests)
            cluster, before, watched = self.clusters[item], interests.copy(), 0.0
            x = interests[cluster]
            if draws.random() < (x + 1) / (x + 3):
                watched = min(minutes, LENGTH)
                step = 0.3 * (1 - abs(x)) * (1 - x)
                interests[cluster] = np.clip(x + (step if draws.random() < (x + 1) / 2 else -step), -1, 1)
                minutes += GIVEN_BACK * watched * self.qualities[item] - watched
            else:
                minutes -= PASSED
            yield before, item, extra, watched
            if minutes <= 0:
                return


class Package(World):
    """The same world, as Google's package has it: users, choices and their consequences are the package's own."""

    def __init__(self, items, items_seed, seed):
        super().__init__(items, items_seed)
        # This file has the package's name, and what the package imports for its agents is not there: no world needs it.
        sys.path.pop(0)
        absent = ["dopamine", "dopamine.discrete_domains", "gin", "gin.tf", "tensorflow", "tensorflow.compat", "tensorflow.compat.v1"]
        sys.modules.update({name: MagicMock(configurable=lambda it: it) for name in absent})
        from recsim.environments import interest_evolution

        settings = {"num_candidates": items, "slate_size": 1, "resample_documents": False, "seed": items_seed}
        self.environment = interest_evolution.create_environment(settings)
        videos = self.environment.environment.candidate_set.get_all_documents()
        assert [video.cluster_id for video in videos] == list(self.clusters), "these are not the items of the log"
        assert np.allclose([video.quality for video in videos], self.qualities), "these are not the items of the log"
        # The seed above is of items and users alike; users have one of their own here.
        self.environment.environment.user_model._user_sampler._rng = np.random.RandomState(seed)
        self.environment.seed(seed)

    def session(self, choose, draws, steps_max=2500):
        interests = self.environment.reset()["user"]
        for _ in range(steps_max):
            # The package moves interests in place.
            before = interests.copy()
            item, extra = choose(before)
            observation, watched, done, _ = self.environment.step([item])
            interests = observation["user"]
            yield before, item, extra, float(watched)
            if done:
                return


def impression(session, number, time_ms, step, interests):
    features = {"step": step, "user": [round(float(x), 5) for x in interests]}
    event = {"event_id": f"{session}-{number:05d}", "user_id": f"u-{session}", "session_id": session, "ts_ms": time_ms}
    return event | {"type": "impression", "position": 0, "reward": 0.0, "features": features}


def follow_up(session, number, time_ms, kind, item, reward):
    event = {"event_id": f"{session}-{number:05d}", "user_id": f"u-{session}", "session_id": session, "ts_ms": time_ms}
    return event | {"type": kind, "item_id": item, "reward": reward, "features": {}}


def log(options):
    world, draws = World(options.items, options.items_seed), np.random.default_rng(options.seed)
    uniform = np.full(world.items, 1 / world.items)
    loggers = {
        "random": lambda interests: uniform,
        "popular": lambda interests: world.popular,
        "near-optimal": lambda interests: world.near_optimal(interests, options.temperature, options.noise),
    }
    events, labels, decisions = [], [], 0
    while decisions < options.decisions:
        logger = draws.choice(list(loggers), p=options.mixture)

        def choose(interests):
            probabilities = loggers[logger](interests)
            item = int(draws.choice(world.items, p=probabilities))
            return item, float(probabilities[item])

        session, total = f"s{options.seed}-{len(labels):06d}", 0.0
        time_ms, number = 1_700_000_000_000 + len(labels) * 10_000 + int(draws.integers(0, 5_000)), 0
        for step, (interests, item, propensity, watched) in enumerate(world.session(choose, draws)):
            logged = {"propensity": propensity} if options.propensities else {}
            events.append(impression(session, number, time_ms, step, interests) | {"item_id": item} | logged)
            number += 1
            if watched:
                events.append(follow_up(session, number, time_ms + 800, "click", item, watched))
                number += 1
            time_ms += 5_500 if watched else 1_500
            total, decisions = total + watched, decisions + 1
        events.append(follow_up(session, number, time_ms, "session_end", None, 0.0))
        labels.append((session, logger, total))
    events.sort(key=lambda event: event["ts_ms"])
    for event in events:
        print(json.dumps(event))
    if options.labels:
        with open(options.labels, "w", newline="") as file:
            csv.writer(file).writerows([("session_id", "policy", "return"), *labels])


class Recommend:
    """A conversation with `sluicebox recommend --stdin`."""

    def __init__(self, options, more=()):
        command = [options.binary, "recommend", "--policy", options.policy, "-c", options.config, "--stdin", *more]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, text=True, bufsize=1, **pipes)

    def ask(self, question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer


def told(name, values):
    """Mean over sessions and the half width of its 95 % interval."""
    half = 1.96 * np.std(values, ddof=1) / np.sqrt(len(values))
    print(json.dumps({"what": name, "n": len(values), "mean": round(float(np.mean(values)), 3), "half_width": round(float(half), 3)}))


def play(options):
    draws = np.random.default_rng(options.seed)
    items = (options.items, options.items_seed)
    world = Package(*items, options.seed) if options.package else World(*items)
    more = ["--sample", "--seed", str(options.seed)] if options.sample else []
    recommend, returns = Recommend(options, more), []
    for user in range(options.users):
        session, events, clock = f"p{options.seed}-{user}", [], {"number": 0, "ms": 1_700_000_000_000, "step": 0}

        def choose(interests):
            decision = impression(session, clock["number"], clock["ms"], clock["step"], interests)
            answer = recommend.ask({"session": session, "events": events, "decision": decision})
            item = int(answer["items"][0])
            events[:] = [decision | {"item_id": item, "propensity": answer["propensities"][0]}]
            return item, None

        total = 0.0
        for _, item, _, watched in world.session(choose, draws):
            clock["number"] += 1
            if watched:
                events.append(follow_up(session, clock["number"], clock["ms"] + 800, "click", item, watched))
                clock["number"] += 1
            clock["ms"] += 5_500 if watched else 1_500
            clock["step"] += 1
            total += watched
        recommend.ask({"session": session, "end": True})
        returns.append(total)
    told("sampled" if options.sample else "greedy", returns)


def read(path):
    with (gzip.open(path, "rt") if path.endswith(".gz") else open(path)) as lines:
        yield from map(json.loads, lines)


def split(options):
    """By a hash of part and session: neither users nor loggers stand in any order."""
    with open(options.kept, "w") as kept, open(options.held_out, "w") as held_out:
        for event in read(options.log):
            named = f"{options.part}/{event['session_id']}".encode()
            print(json.dumps(event), file=held_out if hashlib.blake2b(named).digest()[0] % 4 == 0 else kept)


def likelihood(options):
    with open(options.labels, newline="") as file:
        loggers = {row["session_id"]: row["policy"] for row in csv.DictReader(file)}
    recommend, found, unknown = Recommend(options, ["--temperature", str(options.temperature)]), {}, 0
    for event in read(options.log):
        if event["type"] != "impression":
            continue
        decision = {name: value for name, value in event.items() if name not in ("item_id", "propensity")}
        answer = recommend.ask({"decision": decision, "top": options.items})
        probabilities = dict(zip(answer["items"], answer["propensities"]))
        probability = probabilities.get(str(event["item_id"]), 0.0)
        if probability > 0.0:
            found.setdefault(loggers[event["session_id"]], []).append(np.log(probability))
        else:
            unknown += 1
    for logger, values in sorted(found.items()):
        told(f"log-likelihood, {logger}", values)
    print(json.dumps({"what": "decisions without a probability", "n": unknown}))


def sessions_of(path):
    """Interests, items and return of every decision's session."""
    states, items, sessions, returns = [], [], [], {}
    for event in read(path):
        session = event["session_id"]
        returns[session] = returns.get(session, 0.0) + (event["reward"] or 0.0)
        if event["type"] == "impression":
            states.append(event["features"]["user"])
            items.append(event["item_id"])
            sessions.append(session)
    names = np.array(list(returns))
    totals = np.array([returns[name] for name in names])
    return np.array(states, np.float32), np.array(items), np.array([returns[name] for name in sessions]), totals


def batch(options):
    """A softmax network of 128-128 by Adam over the whole log, shuffled: the best tenth alike, or all by exp(A / tau)."""
    states, items, returns, totals = sessions_of(options.log)
    if options.objective == "top":
        weights = (returns >= np.quantile(totals, 0.9)).astype(np.float64)
    else:
        weights = np.exp(np.clip((returns - returns.mean()) / (options.tau * returns.std()), -10, 10))
    world, draws = World(options.items, options.items_seed), np.random.default_rng(options.seed)
    sizes = [CLUSTERS, 128, 128, world.items]
    network = [(draws.uniform(-1, 1, (a, b)) / np.sqrt(a), np.zeros(b)) for a, b in zip(sizes, sizes[1:])]
    parameters = [array for layer in network for array in layer]
    first, second = [np.zeros_like(array) for array in parameters], [np.zeros_like(array) for array in parameters]
    kept = np.flatnonzero(weights)
    for step in range(1, options.updates + 1):
        rows = draws.choice(kept, 256)
        layers = [states[rows]]
        for weight, bias in zip(parameters[::2], parameters[1::2]):
            layers.append(layers[-1] @ weight + bias)
            if len(layers) < len(sizes):
                layers[-1] = np.maximum(layers[-1], 0)
        back = softmax(layers[-1])
        back[np.arange(256), items[rows]] -= 1
        back *= (weights[rows] / weights[rows].mean() / 256)[:, None]
        for at in reversed(range(3)):
            gradients = [layers[at].T @ back, back.sum(0)]
            back = (back @ parameters[2 * at].T) * (layers[at] > 0)
            for place, gradient in zip((2 * at, 2 * at + 1), gradients):
                first[place] = 0.9 * first[place] + 0.1 * gradient
                second[place] = 0.999 * second[place] + 0.001 * gradient**2
                size = np.sqrt(second[place] / (1 - 0.999**step)) + 1e-8
                parameters[place] = parameters[place] - 1e-3 / (1 - 0.9**step) * first[place] / size

    def probabilities(interests, temperature):
        hidden = interests[None]
        for at, (weight, bias) in enumerate(zip(parameters[::2], parameters[1::2])):
            hidden = hidden @ weight + bias if at == 2 else np.maximum(hidden @ weight + bias, 0)
        return softmax(hidden / temperature)[0]

    sample = lambda temperature: lambda x: (int(draws.choice(world.items, p=probabilities(x, temperature))), None)
    greedy = lambda x: (int(probabilities(x, 1.0).argmax()), None)
    ways = {"sampled": sample(1.0), "sampled at .5": sample(0.5), "greedy": greedy}
    for name, choose in ways.items():
        told(f"{options.objective}, {name}", [sum(step[3] for step in world.session(choose, draws)) for _ in range(options.users)])


def softmax(logits):
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def command(run, *names):
        known = {
            "binary": {"default": "sluicebox"},
            "decisions": {"type": int, "default": 127_000},
            "log": {"required": True},
            "kept": {"required": True},
            "held-out": {"required": True},
            "part": {"type": int, "required": True},
            "labels": {"required": run is likelihood},
            "mixture": {"type": float, "nargs": 3, "default": [0.7, 0.2, 0.1], "help": "of random, popular, near-optimal"},
            "noise": {"type": float, "default": 0.1, "help": "uniform share of the near-optimal logger"},
            "objective": {"choices": ["top", "awr"], "required": True},
            "package": {"action": "store_true", "help": "play in Google's package"},
            "policy": {"required": True},
            "config": {"required": True},
            "propensities": {"action": argparse.BooleanOptionalAction, "default": True},
            "sample": {"action": "store_true"},
            "tau": {"type": float, "default": 0.3, "help": "temperature of awr, in standard deviations"},
            "temperature": {"type": float, "default": 1.0 if run is likelihood else 0.25},
            "updates": {"type": int, "default": 5_000},
            "users": {"type": int, "default": 200},
        }
        sub = commands.add_parser(run.__name__)
        sub.set_defaults(run=run)
        for name in names:
            sub.add_argument(f"--{name}", **known[name])
        sub.add_argument("--items", type=int, default=50)
        sub.add_argument("--items-seed", type=int, default=7)
        sub.add_argument("--seed", type=int, default=1)

    command(log, "decisions", "labels", "mixture", "noise", "temperature", "propensities")
    command(play, "binary", "policy", "config", "package", "sample", "users")
    command(split, "log", "part", "kept", "held-out")
    command(likelihood, "binary", "policy", "config", "log", "labels", "temperature")
    command(batch, "log", "objective", "tau", "updates", "users")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.exit(0)
