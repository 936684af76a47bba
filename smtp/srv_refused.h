/* Sessions that end without a banner, because a limit or a rate is reached or they spoke first.
 * They count against nothing any more, and of a core's only SERVICE_REFUSALS_LINGER may wait until
 * their clients end as well: one more, and the one that has waited for longest is closed. So a
 * flood of such clients, which never close, takes neither places nor descriptors away from the
 * others; who reads what it is told has the time of as many further refusals for that. */
#pragma once

struct srv_conn;

/* It is no session of its listener and its client any more. Harmless when it was none. */
void srv_uncount(struct srv_conn *conn);
/* Its last reply is written: ends it. */
void srv_refused_close(struct srv_conn *conn);
/* Its stream has ended. Harmless when it was not refused. */
void srv_refused_closed(struct srv_conn *conn);
/* Over a limit where TLS comes first: closed at once, with a log line. A handshake is the dearest
 * thing that a client can ask for, and nothing can be said without it. */
void srv_refused_before_tls(struct srv_conn *conn);
