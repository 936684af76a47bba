/* How long a session may stay as it is: a whole command, content by its pace, a handshake, replies
 * that are to be read, the banner and replies to errors that wait, and all of it together, where a
 * transaction that has begun before may be finished within SRV_FINISH_MS. One
 * timer of the session, which finds out when it fires whether its time is up: activity only writes
 * conn->phase_ns. Internal to the pump smtp/srv_conn. */
#pragma once

#include <stdbool.h>

struct session_limits;
struct srv_conn;

enum { SRV_FINISH_MS = 10 * 60 * 1000 };

/* What holds for this session. */
const struct session_limits *srv_deadline_limits(const struct srv_conn *conn);
/* Its time is over: no transaction begins any more. */
bool srv_session_is_over(const struct srv_conn *conn);
/* By what is waited for now. */
void srv_deadline_set(struct srv_conn *conn);
/* The same, but that may be earlier only than what the timer knows: that finds out if it is not. */
void srv_timer_sooner(struct srv_conn *conn);
/* The banner is to wait. Nobody is kept waiting who is only told that there is no room, nor the
 * proxy's own checks. */
bool srv_greet_later(struct srv_conn *conn);
/* Who does not read its replies is closed without a further one. */
void srv_deadline_cut_reader(struct srv_conn *conn);
