#include "smtp/tarpit.h"

#include "smtp/service.h"
#include "smtp/session_settings.h"
#include "smtp/srv_conn.h"

#include <stdlib.h>

bool tarpit_begin(struct srv_conn *conn, uint32_t errors, struct writer *out, size_t from)
{
    struct shard *shard = conn->service->shard;
    const struct session_limits *limits =
        conn->own != NULL ? &conn->own->limits : &conn->service->image->limits;
    if (limits->error_delay_ms == 0 || conn->srv.errors <= limits->error_delay_after ||
        conn->closing || conn->srv.waiting || conn->tls_wait || out->len == 0) {
        return false;
    }
    from = from < out->len ? from : 0;
    size_t len = out->len - from;
    struct tarpit *tarpit = malloc(sizeof *tarpit + len);
    if (tarpit == NULL) {
        return false; /* then without delay */
    }
    uint64_t ms = mx_min_size((uint64_t)limits->error_delay_ms * errors, TARPIT_MS_MAX);
    tarpit->until_ns = shard->now_ns + ms * MX_NS_PER_MS;
    tarpit->len = len;
    memcpy(tarpit->bytes, out->buf + from, len);
    out->len = from;
    conn->tarpit = tarpit;
    stream_pause(&conn->stream);
    wheel_arm(&shard->wheel, &conn->timer, tarpit->until_ns);
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
