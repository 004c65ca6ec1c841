#!/bin/sh
# Makes the database cluster from the official image's settings and becomes the server.
set -eu

case "${1:--}" in
    -) set -- postgres ;;
    -*) set -- postgres "$@" ;;
esac
[ "$1" = postgres ] || exec "$@"

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    user=${POSTGRES_USER:-postgres}
    database=${POSTGRES_DB:-$user}
    password=${POSTGRES_PASSWORD:-}
    method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    if [ -z "$password" ] && [ "$method" != trust ]; then
        echo "set POSTGRES_PASSWORD, or POSTGRES_HOST_AUTH_METHOD=trust" >&2
        exit 1
    fi

    secret=$(mktemp)
    printf '%s\n' "$password" >"$secret"
    # POSTGRES_INITDB_ARGS is a list separated by blanks, hence unquoted.
    # shellcheck disable=SC2086
    initdb --pgdata="$PGDATA" --username="$user" --auth-local=trust \
        ${password:+--pwfile="$secret"} --no-sync --no-instructions ${POSTGRES_INITDB_ARGS:-}
    rm "$secret"
    echo "host all all all $method" >>"$PGDATA/pg_hba.conf"
    if [ "$database" != postgres ]; then
        printf 'CREATE DATABASE "%s"\n' "$database" | postgres --single -j -D "$PGDATA" postgres >/dev/null
    fi
fi

exec "$@"
