#!/usr/bin/env bash
# A throw-away PostgreSQL under build/postgres for the tests of the event store: `tools/postgres.sh start`
# makes a cluster, starts it on a free port of the loopback and prints its address; `stop` stops it and removes
# it. PostgreSQL refuses to run as root: root starts it as the user `postgres` (another: POSTGRES_USER_NAME).
# Needs PostgreSQL's server programs, on Debian: apt-get install postgresql.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${POSTGRES_FOLDER:-$PWD/build/postgres}

programs() { # where initdb and pg_ctl are; Debian keeps them off the PATH
    local found
    for found in "${POSTGRES_BIN:-}" /usr/lib/postgresql/*/bin "$(dirname "$(command -v initdb || echo /)")"; do
        if [ -n "$found" ] && [ -x "$found/initdb" ] && [ -x "$found/pg_ctl" ]; then
            echo "$found"
            return
        fi
    done
    echo "no initdb found: install PostgreSQL (apt-get install postgresql), or name its folder in POSTGRES_BIN" >&2
    return 1
}

as_other() { # a user that may not be root
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid "$owner" --regid "$(id -g "$owner")" --clear-groups env HOME="$data" "$@"
    else
        "$@"
    fi
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

owner=${POSTGRES_USER_NAME:-postgres}
# The owner of a cluster must reach it, and may not be allowed into the checkout: the cluster itself is in a
# temporary folder, build/postgres says which.
case "${1:-}" in
start)
    bin=$(programs)
    "$0" stop
    mkdir -p "$folder"
    data=$(mktemp -d)
    echo "$data" >"$folder/where"
    if [ "$(id -u)" = 0 ]; then
        id "$owner" >/dev/null || { echo "root needs another user to run PostgreSQL as: POSTGRES_USER_NAME" >&2; exit 1; }
        chown "$owner" "$data"
    fi
    as_other "$bin/initdb" --pgdata "$data/cluster" --username shortlist --auth trust --encoding UTF8 \
        --locale C.UTF-8 >"$folder/initdb.log"
    port=$(free_port)
    as_other "$bin/pg_ctl" --pgdata "$data/cluster" --wait --timeout 60 --log "$data/server.log" \
        --options "-h 127.0.0.1 -p $port -k $data" start >"$folder/start.log"
    echo "postgresql://shortlist@127.0.0.1:$port/postgres" | tee "$folder/address"
    ;;
stop)
    if [ -f "$folder/where" ]; then
        bin=$(programs)
        data=$(cat "$folder/where")
        [ ! -d "$data/cluster" ] ||
            as_other "$bin/pg_ctl" --pgdata "$data/cluster" --wait --mode immediate stop >/dev/null || true
        rm -rf "$data" "$folder"
    fi
    ;;
*)
    echo "usage: tools/postgres.sh start|stop" >&2
    exit 2
    ;;
esac
