#!/bin/sh
# End what up.sh has started in the folder LAB, nodes first, and wait until it has ended: down.sh LAB.
ended=
for name in "$1"/*-*.pid "$1"/*.pid; do
    [ -f "$name" ] || continue
    pid=$(cat "$name")
    rm "$name"
    kill "$pid" 2> /dev/null && ended="$ended $pid"
done
for pid in $ended; do
    while kill -0 "$pid" 2> /dev/null; do sleep 0.1; done
done
