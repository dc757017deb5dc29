#!/usr/bin/env python3
"""Loads a policy that sluicebox has published, with numpy alone, and acts as `sluicebox recommend` does.

    python3 examples/recommend.py DIR < questions.jsonl

DIR is publish.dir, one publication in it, or an export. A question is one line of JSON:

    {"context": [0.1, ...], "history": ["a", "b"], "candidates": ["a", "c"], "top": 3}

`history` lists the items that the session has shown, oldest first; `candidates` may be left out. Instead of context and
history, `state` may give the whole state vector. The answer has items, scores and propensities, best first.
"""

import json
import pathlib
import struct
import sys

import numpy as np


def read_safetensors(path):
    """The tensors of a file by name: 8 bytes of header length, a JSON header, the numbers."""
    blob = path.read_bytes()
    (length,) = struct.unpack("<Q", blob[:8])
    header, data = json.loads(blob[8 : 8 + length]), memoryview(blob)[8 + length :]
    header.pop("__metadata__", None)
    tensors = {}
    for name, tensor in header.items():
        if tensor["dtype"] != "F32":
            raise ValueError(f"{name} is {tensor['dtype']}, not F32")
        begin, end = tensor["data_offsets"]
        tensors[name] = np.frombuffer(data[begin:end], "<f4").reshape(tensor["shape"])
    return tensors


class Policy:
    def __init__(self, directory):
        directory = pathlib.Path(directory)
        places = [directory, directory / "current", directory / "published" / "current"]
        place = next((place for place in places if (place / "manifest.json").exists()), None)
        if place is None:
            raise FileNotFoundError(f"no published policy in {directory}")
        # `current` may move on while we read.
        place = place.resolve()
        self.manifest = json.loads((place / "manifest.json").read_text())
        if self.manifest["format"] != 1:
            raise ValueError(f"format {self.manifest['format']} is not known here")
        self.tensors = read_safetensors(place / self.manifest["policy"]["file"])
        self.items = self.manifest["items"]
        self.numbers = {item: number for number, item in enumerate(self.items)}
        self.temperature = self.manifest["serving"]["temperature"]

    def state(self, context, history):
        """[context | weighted mean of the last items' vectors]; an item without a vector counts as zeros."""
        shape = self.manifest["state"]
        parts = [np.asarray(context, np.float32)]
        if shape["history"]["length"] > 0:
            pooled, total = np.zeros(shape["item_dimension"], np.float32), 0.0
            recent = list(reversed(history))[: shape["history"]["length"]]
            for age, item in enumerate(recent):
                weight = shape["history"]["decay"] ** age
                total += weight
                if str(item) in self.numbers:
                    pooled += weight * self.tensors["item_embeddings"][self.numbers[str(item)]]
            parts.append(pooled / total if total > 0 else pooled)
        state = np.concatenate(parts)
        return state if len(state) else np.ones(1, np.float32)

    def trunk(self, state):
        """Dense layers with ReLU between them; the last one gives the mean or the query."""
        layers = len(self.manifest["policy"]["hidden"]) + 1
        for layer in range(layers):
            state = state @ self.tensors[f"layer.{layer}.weight"] + self.tensors[f"layer.{layer}.bias"]
            if layer + 1 < layers:
                state = np.maximum(state, 0)
        return state

    def preferences(self, state):
        """Of every item: the logit, or the log-density of a Gaussian policy at the item's embedding."""
        output = self.trunk(state)
        if self.manifest["policy"]["kind"] == "gaussian":
            log_sigma = self.tensors["log_sigma"]
            z = (self.tensors["item_embeddings"] - output) / np.exp(log_sigma)
            return (-0.5 * (z**2 + np.log(2 * np.pi)) - log_sigma).sum(axis=1)
        preferences = self.tensors["item_vectors"] @ output
        beta = self.manifest["serving"]["tilt"]
        return preferences + beta * self.critic(state) if beta > 0 else preferences

    def critic(self, state):
        """What sessions with each item in this state came to: one hidden layer over the state and the item."""
        tensors = self.tensors
        hidden = tensors["critic.bias"] + state @ tensors["critic.weight"][: len(state)]
        if "critic.items" in tensors:
            # An item without a row has not been seen by the critic.
            own = np.zeros((len(self.items), len(hidden)), np.float32)
            known = tensors["critic.items"][: len(self.items)]
            own[: len(known)] = known
        else:
            own = tensors["item_vectors"] @ tensors["critic.weight"][len(state) :]
        return (np.maximum(hidden + own, 0) @ tensors["critic.output"])[:, 0] + tensors["critic.output_bias"]

    def recommend(self, state, candidates=None, top=1):
        preferences = self.preferences(state).astype(np.float64)
        if candidates is None:
            known = np.arange(len(self.items))
        else:
            # Ids are texts: 18 and "18" are one.
            candidates = [str(item) for item in candidates]
            known = np.array([self.numbers[item] for item in candidates if item in self.numbers], int)
        if not len(known):
            raise ValueError("the policy knows none of the candidates")
        scaled = preferences[known] / self.temperature
        propensities = np.exp(scaled - scaled.max())
        propensities /= propensities.sum()
        best = np.lexsort((np.arange(len(known)), -preferences[known]))[:top]
        return {
            "items": [self.items[known[place]] for place in best],
            "scores": [float(preferences[known[place]]) for place in best],
            "propensities": [float(propensities[place]) for place in best],
            "policy_version": self.manifest["version"],
        }

    def answer(self, question):
        if "state" in question:
            state = np.array(question["state"], np.float32)
        else:
            state = self.state(question.get("context", []), question.get("history", []))
        if state.shape != (self.tensors["layer.0.weight"].shape[0],):
            raise ValueError(f"the state must have {self.tensors['layer.0.weight'].shape[0]} numbers, not {state.shape}")
        return self.recommend(state, question.get("candidates"), question.get("top", 1))


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    policy = Policy(sys.argv[1])
    for line in sys.stdin:
        try:
            answer = policy.answer(json.loads(line))
        except (ValueError, TypeError, AttributeError) as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
