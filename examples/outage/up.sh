#!/bin/sh
# Start some of the clinics on this machine: up.sh LAB SITE..., for example up.sh lab kiel ulm.
#
# LAB is a new folder for all that they keep.  Kiel reaches the FSM through wire.py, so that its line
# can be cut; packets are simulated.  Afterwards `. LAB/env` tells hanse where everything is, and
# down.sh LAB ends it.
set -eu
here=$(dirname "$0") clinics=$(dirname "$0")/../clinics
mkdir "$1"
lab=$(cd "$1" && pwd)
shift

fsm=${FSM_PORT:-8443} wire=${WIRE_PORT:-9443}
cat > "$lab/env" <<EOF
export HANSE_CONFIG=$lab/contexts.yaml HANSE_PASSWORD=only-for-this-lab HANSE_ADMIN_PASSWORD=only-for-this-lab
export LAB=$lab FSM_PORT=$fsm WIRE_PORT=$wire
EOF
. "$lab/env"

# background NAME COMMAND...: its output goes to LAB/NAME.log, its process id to LAB/NAME.pid.
background() {
    name=$1
    shift
    "$@" > "$lab/$name.log" 2>&1 &
    echo $! > "$lab/$name.pid"
}

# until_serving NAME: wait until a server says that it is up, or has ended.
until_serving() {
    until grep -q 'serving at' "$lab/$1.log"; do
        kill -0 "$(cat "$lab/$1.pid")" || { cat "$lab/$1.log" >&2; return 1; }
        sleep 0.1
    done
}

# clinic SITE PORT: let a site and its nodes join and serve.
clinic() {
    upstream=$fsm
    if [ "$1" = kiel ]; then upstream=$wire; fi
    hanse sdsp init --data "$lab/$1" --listen "127.0.0.1:$2" > "$lab/$1.init"
    hanse sites token "$1" -c fsm |
        hanse sdsp join --data "$lab/$1" --server "https://localhost:$upstream" --token - > /dev/null
    background "$1" hanse sdsp serve --data "$lab/$1"
    until_serving "$1"
    hanse login "https://localhost:$2" --user admin --ca "$lab/fsm/root.pem" --site "$1" > /dev/null
    # The federation's names arrive a moment after the site serves.
    tries=0
    until hanse get network RemoteSupport --scope federation -c "$1" > "$lab/$1.heard" 2>&1; do
        tries=$((tries + 1))
        if [ $tries -gt 50 ]; then cat "$lab/$1.heard" >&2; return 1; fi
    done
    hanse apply -c "$1" -f "$clinics/sites/$1" > /dev/null
    for node in $(hanse get nodes -c "$1" -o name); do
        node=${node#*/}
        hanse nodes token "$node" -c "$1" |
            hanse dsn join --data "$lab/$1-$node" --server "https://localhost:$2" --token - > /dev/null
        background "$1-$node" hanse dsn run --data "$lab/$1-$node" --data-plane memory
    done
    echo "$1: SDSP at https://localhost:$2"
}

hanse fsm init --data "$lab/fsm" --trust-domain clinics.example --listen "127.0.0.1:$fsm" > "$lab/fsm.init"
background fsm hanse fsm serve --data "$lab/fsm"
background wire python "$here/wire.py" "$wire" "$fsm"
until_serving fsm
hanse login "https://localhost:$fsm" --user admin --ca "$lab/fsm/root.pem" > /dev/null
hanse apply -c fsm -f "$clinics/federation" > /dev/null
echo "FSM at https://localhost:$fsm"

for site in "$@"; do
    case $site in
        kiel) clinic kiel "${KIEL_PORT:-8444}" & ;;
        ulm) clinic ulm "${ULM_PORT:-8445}" & ;;
        husum) clinic husum "${HUSUM_PORT:-8446}" & ;;
        celle) clinic celle "${CELLE_PORT:-8447}" & ;;
        *) echo "there is no clinic in $site" >&2; exit 2 ;;
    esac
    pids="${pids:-} $!"
done
for pid in ${pids:-}; do wait "$pid"; done
hanse context use fsm > /dev/null
