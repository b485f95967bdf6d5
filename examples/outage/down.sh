#!/bin/sh
# End what up.sh has started in the folder LAB, nodes first, and wait until it has ended: down.sh LAB.
set -u

# runs PID: whether a process goes on; one that waits only to be forgotten by its parent doesn't.
runs() {
    case $(ps -o stat= -p "$1" 2> /dev/null) in '' | Z*) return 1 ;; esac
}

ended=
for name in "$1"/*-*.pid "$1"/*.pid; do
    [ -f "$name" ] || continue
    pid=$(cat "$name")
    rm "$name"
    kill "$pid" 2> /dev/null && ended="$ended $pid"
done
for pid in $ended; do
    while runs "$pid"; do sleep 0.1; done
done
