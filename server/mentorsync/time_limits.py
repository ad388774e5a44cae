"""Every time limit that depends on another one, in seconds, shortest first within each group.

tests/unit/test_time_limits.py checks the inequalities, and the limits that are in Envoy's configuration.
"""

# --- One call, from the database outwards. Each layer gives up before the layer that waits for it. ---

IDLE_IN_TRANSACTION_SECONDS = 2.0  # PostgreSQL ends the transaction of a frozen replica, so that others get the log
CONNECT_SECONDS = 2.0  # to open a connection to PostgreSQL
PROBE_ANSWER_SECONDS = 3.0  # a health probe may queue behind reads; it must fail long before a call does
RETRY_SECONDS = 3.0  # a write is tried again for this long, so that a restart of the database goes unnoticed
TRANSACTION_SECONDS = 4.0  # PostgreSQL ends a write that keeps the log for longer, from version 17 on
BUSY_SECONDS = 5.0  # a SQLite write waits this long for another process, such as a purge, to end its batch
LOCK_SECONDS = 5.0  # a PostgreSQL write waits for the log: longer than two frozen replicas can hold it
READ_SECONDS = 5.0  # PostgreSQL ends a read that takes longer, even if its caller has disconnected
SILENCE_SECONDS = 6.0  # without an answer for this long, PostgreSQL is unavailable; longer than a wait for a lock
ANSWER_SECONDS = 7.5  # the service answers every call within this time, at worst with an error
DEADLINE_SECONDS = 9.5  # the gateway's grpc-timeout: the server ends the call before the gateway gives up
ROUTE_SECONDS = 10.0  # the gateway answers 504 (in the separate mode)
TCP_USER_SECONDS = 10.0  # the kernel drops a connection to PostgreSQL whose data is not acknowledged
STREAM_IDLE_SECONDS = 12.0  # the gateway answers 504 in the embedded mode, which has no route timeout
REQUEST_SECONDS = 15.0  # the gateway has read the whole request, or answers 408

# --- A stop, from the signal on. `docker stop` kills after 10 s. ---

KILL_SECONDS = 10.0  # docker sends SIGKILL this long after SIGTERM
STOP_SECONDS = 9.5  # by then the supervisor has ended every part, by SIGKILL if necessary

# The gateway, and all that `up` runs: the listeners stay open for a moment, then calls finish.
CLOSE_SECONDS = 1.0  # answers carry `connection: close`, or GOAWAY, and new connections are still accepted
QUIET_SECONDS = 0.25  # a connection that has been idle for this long does not delay the end
END_SECONDS = 0.75  # a part needs this long to end once its calls have finished

# `mentorsync serve` alone: on a shared database other servers take over first.
HEALTH_CHECK_SECONDS = 1.25  # a gateway needs this long to see NOT_SERVING: two checks, 1 s and 0.25 s apart
RETIRE_SECONDS = 2.0  # the server reports NOT_SERVING but keeps serving, so that gateways move traffic first
DRAIN_SECONDS = 7.5  # calls in flight finish: as long as a call may take

# The end of the log and of the traces: lines and spans that cannot be written within this time are lost.
FLUSH_SECONDS = 0.3  # of one process
SPAN_FLUSH_SECONDS = 0.15  # the same for spans, before it; the two together take less than END_SECONDS

# --- Starts and restarts ---

START_SECONDS = 20.0  # until Envoy serves: usually 0.1 s, but the embedded service's database may take longer
READY_SECONDS = 10.0  # from then on until a call through the gateway succeeds
PING_PAUSE_SECONDS = 0.5  # between two pings of a replica
PING_SECONDS = 1.0  # a ping without an answer for this long has failed
MAX_FAILED_PINGS = 3  # in a row; the replica then hangs, and is killed and started again
RESTART_SECONDS = 1.0  # pause before another attempt to start a replica that could not be started

# --- A stream of the live feed ---

STREAM_SPREAD_SECONDS = 0.8  # at a stop, streams are told to leave over this time: less than CLOSE_SECONDS
BEHIND_SECONDS = 3.0  # a replica of the database may be this late with a cursor's revision
STALLED_SECONDS = 5.0  # a message that is not taken for this long ends its stream
HEARTBEAT_SECONDS = 20.0  # a stream is silent for at most this long, and a tenth more
STREAM_SILENCE_SECONDS = 60.0  # the gateway ends a stream that was silent for three heartbeats
MAX_STREAM_SECONDS = 3_600.0  # a stream ends after this at the latest, so that clients spread over new servers
