#!/bin/sh
# Prints the directory of the jars of Apache Kafka for the tests, and gets them first if need be.
# Which source was taken is said on stderr. Looks in this order:
#   KAFKA_HOME (its libs/), KAFKA_JARS (a directory of jars), the cache under target/, Maven.
set -eu

version=4.3.1
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}
cache=$target/kafka-$version

say() { echo "kafka for the tests: $*" >&2; }

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
if ! command -v "$java" >/dev/null 2>&1; then
    say "no Java found: install a JRE 17 or newer (Debian: apt-get install openjdk-17-jre-headless) or set JAVA_HOME"
    exit 1
fi

for jars in ${KAFKA_HOME:+"$KAFKA_HOME/libs"} ${KAFKA_JARS:+"$KAFKA_JARS"}; do
    if ls "$jars"/kafka_2.13-*.jar >/dev/null 2>&1; then
        say "taken from $jars (named by the environment)"
        echo "$jars"
        exit 0
    fi
    say "no kafka_2.13-*.jar in $jars, which KAFKA_HOME or KAFKA_JARS names"
    exit 1
done

if [ -d "$cache" ]; then
    say "taken from the cache $cache"
    echo "$cache"
    exit 0
fi

if ! command -v mvn >/dev/null 2>&1; then
    say "not found: install Maven (Debian: apt-get install maven), or set KAFKA_HOME to an unpacked Apache Kafka $version"
    exit 1
fi

# Into a directory of its own first: two runs at once must not see each other's half of the jars.
mkdir -p "$target"
draft=$(mktemp -d "$target/kafka-draft.XXXXXX")
trap 'rm -rf "$draft"' EXIT
say "fetching $version with Maven"
plugin=org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies
if ! mvn -q -B -f "$here/pom.xml" "$plugin" -DincludeScope=runtime "-DoutputDirectory=$draft/jars" >&2; then
    say "Maven could not fetch it; set KAFKA_HOME to an unpacked Apache Kafka $version"
    exit 1
fi
# The loser of a race keeps the winner's directory.
mv -T "$draft/jars" "$cache" 2>/dev/null || [ -d "$cache" ]
say "cached in $cache"
echo "$cache"
