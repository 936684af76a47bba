#include "smtp/srv_deadline.h"

#include "smtp/service.h"
#include "smtp/session_settings.h"
#include "smtp/srv_conn.h"
#include "smtp/srv_question.h"

enum {
    TIMER_LATE_MS = 1000, /* a timer that fires so late tells of us and not of the client */
    TIMER_AGAIN_MS = 100,
};

const struct session_limits *srv_deadline_limits(const struct srv_conn *conn)
{
    return conn->own != NULL ? &conn->own->limits : &conn->service->image->limits;
}

static uint64_t session_end_ns(const struct srv_conn *conn)
{
    return conn->began_ns + srv_deadline_limits(conn)->session_ms * MX_NS_PER_MS;
}

/* What has begun may be finished: whoever keeps a connection busy would lose the message that is on
 * its way when the time is over, each time. */
static uint64_t cut_ns(const struct srv_conn *conn)
{
    return session_end_ns(conn) + (conn->txn != NULL ? SRV_FINISH_MS * MX_NS_PER_MS : 0);
}

bool srv_session_is_over(const struct srv_conn *conn)
{
    return conn->service->shard->now_ns >= session_end_ns(conn);
}

/* How much longer content may stay away, counted from the last of it. */
static uint64_t content_left_ns(const struct srv_conn *conn)
{
    const struct session_limits *limits = srv_deadline_limits(conn);
    uint64_t timeout_ns = limits->data_block_ms * MX_NS_PER_MS;
    uint64_t pace_ns =
        srv_pace_left_ns(&conn->pace, limits->data_rate, limits->data_grace_ms * MX_NS_PER_MS);
    return pace_ns < timeout_ns ? pace_ns : timeout_ns;
}

static uint64_t greet_delay_ns(const struct srv_conn *conn)
{
    const struct listener_conf *conf = conn->listener->conf;
    return conf == NULL ? 0 : conf->greet_delay_ms * MX_NS_PER_MS;
}

static uint64_t deadline_ns(const struct srv_conn *conn)
{
    const struct session_limits *limits = srv_deadline_limits(conn);
    uint64_t wait_ns = limits->idle_ms * MX_NS_PER_MS;
    if (conn->greet_wait) {
        return conn->phase_ns + greet_delay_ns(conn);
    }
    if (conn->tarpit != NULL) {
        uint64_t end_ns = session_end_ns(conn);
        return conn->tarpit->until_ns < end_ns ? conn->tarpit->until_ns : end_ns;
    }
    if (conn->proxy != NULL) {
        /* For all of the header: bytes that trickle in win no time. */
        return conn->began_ns + limits->proxy_header_ms * MX_NS_PER_MS;
    }
    if (conn->tls_wait) {
        wait_ns = limits->tls_handshake_ms * MX_NS_PER_MS;
    } else if (conn->unread) {
        wait_ns = mx_min_size(wait_ns, SRV_UNREAD_MS * MX_NS_PER_MS);
    } else if (srv_phase(&conn->srv) == SRV_PHASE_DATA) {
        wait_ns = content_left_ns(conn);
    }
    wait_ns = shed_wait_ms(&conn->service->shed, wait_ns / MX_NS_PER_MS) * MX_NS_PER_MS;
    uint64_t idle_ns = conn->phase_ns + wait_ns;
    uint64_t session_ns = cut_ns(conn);
    return idle_ns < session_ns ? idle_ns : session_ns;
}

/* The banner has waited long enough. */
static void greet(struct srv_conn *conn)
{
    conn->greet_wait = false;
    conn->greet_done = true;
    srv_answer_again(conn);
}

void srv_deadline_cut_reader(struct srv_conn *conn)
{
    struct session_stats *stats = &conn->service->session_stats;
    count_one(&stats->timeouts);
    count_one(&stats->slow_readers);
    offences_note(&conn->service->offences, OFFENCE_LOITER, &conn->client, 1);
    conn->closing = true;
    stream_abort(&conn->stream, MX_ERR_TIMEOUT); /* one more reply would not be read either */
}

/* Its time is up. */
static void give_up(struct srv_conn *conn, uint64_t now_ns)
{
    struct session_stats *stats = &conn->service->session_stats;
    const struct session_limits *limits = srv_deadline_limits(conn);
    bool slow = srv_phase(&conn->srv) == SRV_PHASE_DATA && limits->data_rate > 0 &&
                content_left_ns(conn) < limits->data_block_ms * MX_NS_PER_MS;
    if (conn->unread) {
        srv_deadline_cut_reader(conn);
        return;
    }
    count_one(&stats->timeouts);
    /* Who keeps a connection until its time is over because there is more to send does no wrong. */
    if (slow || (now_ns >= session_end_ns(conn) && !conn->srv.brought_mail)) {
        offences_note(&conn->service->offences, OFFENCE_LOITER, &conn->client, 1);
    }
    if (slow) {
        count_one(&stats->slow_data);
    }
    srv_conn_end(conn, slow ? SRV_CLOSE_SLOW : SRV_CLOSE_TIMEOUT);
}

/* Activity only writes phase_ns; the timer finds out when it fires. */
static void timer_fire(struct timer *timer, uint64_t now_ns)
{
    struct srv_conn *conn = mx_container_of(timer, struct srv_conn, timer);
    uint64_t at_ns = deadline_ns(conn);
    if (conn->closing) {
        return;
    }
    if (now_ns >= at_ns && conn->greet_wait) {
        greet(conn);
        at_ns = deadline_ns(conn);
    } else if (now_ns >= at_ns && conn->tarpit != NULL && now_ns < session_end_ns(conn)) {
        srv_conn_go_on(conn);
        at_ns = deadline_ns(conn);
    }
    if (now_ns > timer->deadline_ns + TIMER_LATE_MS * MX_NS_PER_MS) {
        at_ns = now_ns + TIMER_AGAIN_MS * MX_NS_PER_MS; /* what came meanwhile is seen first */
    } else if (srv_phase(&conn->srv) == SRV_PHASE_DATA && !stream_receives(&conn->stream)) {
        conn->phase_ns = now_ns; /* content is there, or may be, and waits for us */
        at_ns = deadline_ns(conn);
    }
    if (now_ns < at_ns || srv_phase(&conn->srv) == SRV_PHASE_ANSWER) {
        uint64_t next_ns = now_ns < at_ns ? at_ns : now_ns + MX_NS_PER_S;
        wheel_arm(&conn->service->shard->wheel, &conn->timer, next_ns);
        return;
    }
    if (conn->proxy != NULL) {
        srv_proxy_refuse(conn, REFUSAL_PROXY_TIMEOUT, "no complete header in time");
        return;
    }
    give_up(conn, now_ns);
}

void srv_timer_sooner(struct srv_conn *conn)
{
    uint64_t at_ns = deadline_ns(conn);
    if (!conn->closing && at_ns < conn->timer.deadline_ns) {
        wheel_arm(&conn->service->shard->wheel, &conn->timer, at_ns);
    }
}

void srv_deadline_set(struct srv_conn *conn)
{
    conn->timer.fire = timer_fire;
    wheel_arm(&conn->service->shard->wheel, &conn->timer, deadline_ns(conn));
}

bool srv_greet_later(struct srv_conn *conn)
{
    if (greet_delay_ns(conn) == 0 || conn->greet_done || srv_proxy_trusted(conn)) {
        return false;
    }
    conn->phase_ns = conn->service->shard->now_ns;
    conn->greet_wait = true;
    srv_deadline_set(conn);
    return true;
}
