# shellcheck shell=sh
# What the run and finish scripts of the telemetry share. Sourced.

RESTART_LIMIT_SECONDS=60
STEADY_SECONDS=60 # one that ran so long is not in trouble: its back-off begins anew

# The base image's variables are for Triton, not for us.
unset LD_LIBRARY_PATH LD_PRELOAD PYTHONPATH PYTHONHOME

# Inference comes first: telemetry gets what CPU is left, may hold so much memory
# and no more, and is what the kernel ends first when memory runs out.
stand_back() { # MiB of memory
    # shellcheck disable=SC3045 # not POSIX, but in the dash and the bash of Debian and Ubuntu
    ulimit -d $(($1 * 1024)) # RLIMIT_DATA: what a process writes to, not what it maps
    # shellcheck disable=SC3045
    ulimit -c 0
    { echo 500 >/proc/self/oom_score_adj; } 2>/dev/null || true
    renice -n 10 -p $$ >/dev/null 2>&1 || true
}

# The receiver alone sends anything: Triton, the models in it and Prometheus have no use for
# its secrets, and a crash report or a printed environment would show them.
forget_secrets() {
    unset APPLICATIONINSIGHTS_CONNECTION_STRING APPLICATIONINSIGHTS_CONNECTION_STRING_FILE \
        INSTRUMENTATION_KEY INSTRUMENTATION_KEY_FILE APPLICATIONINSIGHTS_AUTHENTICATION_STRING
}

wait_before_restart() { # NAME
    delay=$(cat "$TELEMETRY_STATE/restarts/$1.delay" 2>/dev/null || echo 0)
    [ "$delay" = 0 ] || sleep "$delay"
    date +%s >"$TELEMETRY_STATE/restarts/$1.started"
}

count_restart() { # NAME CODE SIGNAL, as a finish script gets them
    [ ! -e "$TELEMETRY_STATE/stopping" ] || return 0
    directory=$TELEMETRY_STATE/restarts
    count=$(($(cat "$directory/$1" 2>/dev/null || echo 0) + 1))
    delay=$(cat "$directory/$1.delay" 2>/dev/null || echo 0)
    started=$(cat "$directory/$1.started" 2>/dev/null || date +%s)
    if [ $(($(date +%s) - started)) -ge "$STEADY_SECONDS" ] || [ "$delay" = 0 ]; then
        delay=1
    else
        delay=$((delay * 2))
        [ "$delay" -le "$RESTART_LIMIT_SECONDS" ] || delay=$RESTART_LIMIT_SECONDS
    fi
    echo "$count" >"$directory/$1"
    echo "$delay" >"$directory/$1.delay"
    how="with exit code $2"
    [ "$2" -lt 256 ] || how="by signal $3"
    printf 'container: %s ended %s; restart %d in %d s. Triton goes on.\n' "$1" "$how" "$count" "$delay" >&2
}
