#!/bin/sh
# End what up.sh has started in the folder LAB, nodes first: down.sh LAB.
for name in "$1"/*-*.pid "$1"/*.pid; do
    [ -f "$name" ] || continue
    kill "$(cat "$name")" 2> /dev/null
    rm "$name"
done
