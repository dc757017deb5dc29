#!/usr/bin/env python3
"""Checks docker-compose.yml where no container engine is at hand.

    python3 tests/compose.py [--schema compose-spec.json] [--sluicebox target/release/sluicebox]

Needs PyYAML, and jsonschema for --schema. Without --sluicebox the commands are not tried."""

import argparse
import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent


def problems(compose, dockerfile, options):
    services = compose["services"]
    used_volumes = set()
    for name, service in services.items():
        is_ours = service["image"] == "sluicebox:local"
        for dependency, condition in service.get("depends_on", {}).items():
            target = services.get(dependency)
            if target is None:
                yield f"{name} waits for {dependency}, which is no service"
            elif condition["condition"] == "service_healthy" and "healthcheck" not in target:
                yield f"{name} waits until {dependency} is healthy, which nobody checks"
        if service["restart"] not in ("no", "on-failure", "unless-stopped"):
            yield f"{name}: restart {service['restart']}"
        if service["restart"] != "no" and "healthcheck" not in service:
            yield f"{name} stays up and has no health check"
        for volume in service.get("volumes", []):
            source, target, *_ = volume.split(":")
            used_volumes.add(source)
            if is_ours and target not in dockerfile.split():
                yield f"{name}: the image does not make {target}, so its owner would be root"
        for port in service.get("ports", []):
            if not port.startswith("127.0.0.1:"):
                yield f"{name}: {port} is open to the network"
        if is_ours:
            yield from problems_of_ours(name, service, options)
        for key in service.get("environment", {}):
            if re.search("PASSWORD|SECRET|TOKEN", key):
                yield f"{name}: {key} belongs into a secret"
    declared = set(compose.get("volumes", {}))
    if used_volumes != declared:
        yield f"volumes: used {sorted(used_volumes)}, declared {sorted(declared)}"


def problems_of_ours(name, service, options):
    if service.get("user", "root").split(":")[0] in ("root", "0"):
        yield f"{name} runs as root"
    command = service["command"]
    config = pathlib.Path(command[command.index("-c") + 1])
    if not (ROOT / config).is_file():
        yield f"{name}: {config} is not there"
    if options.sluicebox:
        # A flag that does not exist ends with 64 even before --help is reached.
        for line in ([*command, "--help"], ["config", "show", "-c", str(config)]):
            tried = subprocess.run([options.sluicebox, *line], cwd=ROOT, capture_output=True, text=True, check=False)
            if tried.returncode != 0:
                yield f"{name}: sluicebox {' '.join(line)} ended with {tried.returncode}: {tried.stderr.strip()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schema", type=pathlib.Path)
    parser.add_argument("--sluicebox", type=lambda path: str(pathlib.Path(path).resolve()))
    options = parser.parse_args()
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    dockerfile = (ROOT / "Dockerfile").read_text()
    found = list(problems(compose, dockerfile, options))
    if not re.search(r"^USER \d+:\d+$", dockerfile, re.MULTILINE):
        found.append("Dockerfile: the last stage runs as root")
    if options.schema:
        import json

        import jsonschema

        schema = json.loads(options.schema.read_text())
        validator = jsonschema.Draft7Validator(schema)
        found += [f"{error.json_path}: {error.message}" for error in validator.iter_errors(compose)]
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
