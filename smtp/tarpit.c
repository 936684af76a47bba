#include "smtp/tarpit.h"

#include "core/check.h"
#include "smtp/service.h"
#include "smtp/session_settings.h"
#include "smtp/srv_conn.h"
#include "smtp/srv_deadline.h"

#include <stdlib.h>

static uint64_t delay_ms(const struct srv_conn *conn)
{
    const struct srv *srv = &conn->srv;
    const struct session_limits *limits =
        conn->own != NULL ? &conn->own->limits : &conn->service->image->limits;
    uint64_t ms = srv->errors > limits->error_delay_after ? limits->error_delay_ms : 0;
    if (srv_refuses_rcpt((enum reply)srv->error) && limits->rcpt_delay_ms > ms) {
        ms = limits->rcpt_delay_ms;
    }
    return mx_min_size(ms, TARPIT_MS_MAX);
}

/* Whoever waits may keep a place for what it has sent. */
static bool places_are_short(const struct shard *shard)
{
    return shard->park_blocks.used * 2 > shard->park_blocks.slots_max;
}

bool tarpit_begin(struct srv_conn *conn, struct writer *out)
{
    struct shard *shard = conn->service->shard;
    const struct srv *srv = &conn->srv;
    if (srv->error == REPLY_OK || conn->closing || places_are_short(shard)) {
        return false;
    }
    uint64_t ms = delay_ms(conn);
    MX_ASSERT(srv->error_at < out->len && conn->tarpit == NULL);
    size_t len = out->len - srv->error_at;
    struct tarpit *tarpit = ms == 0 ? NULL : malloc(sizeof *tarpit + len);
    if (tarpit == NULL) {
        return false; /* then without delay */
    }
    tarpit->until_ns = shard->now_ns + ms * MX_NS_PER_MS;
    tarpit->len = len;
    memcpy(tarpit->bytes, out->buf + srv->error_at, len);
    out->len = srv->error_at;
    conn->tarpit = tarpit;
    stream_pause(&conn->stream);
    srv_timer_sooner(conn); /* or the session ends before */
    count_one(&conn->service->session_stats.replies_delayed);
    return true;
}

void tarpit_end(struct srv_conn *conn)
{
    struct tarpit *tarpit = conn->tarpit;
    if (tarpit == NULL) {
        return;
    }
    conn->tarpit = NULL;
    mx_err err = stream_write(&conn->stream, slice_of(tarpit->bytes, tarpit->len));
    free(tarpit);
    if (err) {
        conn->closing = true;
        stream_abort(&conn->stream, err);
    }
}
