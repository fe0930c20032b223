#!/bin/sh
# "serve" indexes VSEARCH_PHOTOS once, or what is new there, and serves; anything else is a vsearch command.
set -eu
if [ "${1:-serve}" != serve ]; then
    exec vsearch "$@"
fi
[ $# -eq 0 ] || shift
vsearch build-index "$VSEARCH_PHOTOS" --index "$VSEARCH_INDEX" ${VSEARCH_CHROMA:+--chroma "$VSEARCH_CHROMA"}
exec vsearch serve --host "$VSEARCH_HOST" --port "$VSEARCH_PORT" "$@"
