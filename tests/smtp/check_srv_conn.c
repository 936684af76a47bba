/* Sessions whose connection takes nothing more, and replies that wait: the pump over a stream that
 * is in here. */
#include "tests/check.h"

#include "core/err.h"
#include "io/stream.h"

#include <stdlib.h>
#include <string.h>

static bool no_memory; /* for what is written */
static unsigned written, aborted, resumed, paused, closed;

static mx_err fake_write(struct stream *stream, struct slice bytes)
{
    (void)stream;
    CHECK(bytes.len > 0);
    written += !no_memory;
    return no_memory ? MX_ERR_NOMEM : MX_OK;
}

static void fake_abort(struct stream *stream, mx_err why)
{
    (void)stream;
    CHECK(why != MX_OK);
    aborted++;
}

#define stream_write(stream, bytes) fake_write(stream, bytes)
#define stream_abort(stream, why) fake_abort(stream, why)
#define stream_resume(stream) ((void)(stream), (void)resumed++)
#define stream_pause(stream) ((void)(stream), (void)paused++)
#define stream_close(stream) ((void)(stream), (void)closed++)
#include "smtp/srv_conn.c"
#include "smtp/srv_deadline.c"
#include "smtp/tarpit.c"

enum { SESSION_MS = 60000, ERROR_DELAY_MS = 30000 };

static struct shard shard;
static struct service service;
static struct image image;
static struct service_listener listener;
static struct srv_profile profile;
static struct srv_conn conn;

static void setup(void)
{
    memset(&shard, 0, sizeof shard);
    shard.now_ns = 5 * MX_NS_PER_S;
    wheel_init(&shard.wheel, shard.now_ns);
    CHECK(log_init(&shard.log, -1, LOG_ERROR) == MX_OK);
    CHECK(pool_init(&shard.park_blocks, "parks", 64, 100) == MX_OK);
    image = (struct image){.limits = {.idle_ms = 2 * (uint64_t)SESSION_MS,
                                      .session_ms = SESSION_MS,
                                      .error_delay_ms = ERROR_DELAY_MS}};
    memset(&service, 0, sizeof service);
    service.shard = &shard;
    service.image = &image;
    service.performance.session_steps = 100;
    listener = (struct service_listener){.service = &service};
    memset(&profile, 0, sizeof profile);
    profile.conf = (struct srv_conf){.hostname = SLICE_LITERAL("mx.example.org"),
                                     .limits = {.line_bytes_max = 4096,
                                                .rcpts_max = 100,
                                                .errors_max = 20,
                                                .commands_max = 100,
                                                .messages_max = 100}};
    memset(&conn, 0, sizeof conn);
    conn.service = &service;
    conn.listener = &listener;
    conn.profile = &profile;
    conn.refusal = STATS_REFUSALS;
    conn.began_ns = conn.phase_ns = shard.now_ns;
    srv_init(&conn.srv, &profile.conf, false);
    srv_deadline_set(&conn);
    no_memory = false;
    written = aborted = resumed = paused = closed = 0;
}

static void teardown(void)
{
    wheel_cancel(&shard.wheel, &conn.timer);
    free(conn.tarpit);
    pool_fini(&shard.park_blocks);
    log_fini(&shard.log);
}

/* Its first question, for the banner, has no answer yet. */
static void ask(void)
{
    uint8_t buf[SRV_OUT_BYTES];
    struct writer out = writer_init(buf, sizeof buf);
    struct slice none = SLICE_EMPTY;
    CHECK(srv_next(&conn.srv, &none, &out) == SRV_ASK && conn.srv.waiting);
}

/* It has been refused, and the reply to that waits. */
static void refuse(void)
{
    uint8_t buf[SRV_OUT_BYTES];
    struct writer out = writer_init(buf, sizeof buf);
    ask();
    conn.welcome = true;
    srv_answer_late(&conn, REPLY_OK, SLICE_EMPTY);
    struct slice in = SLICE_LITERAL("NONSENSE\r\n");
    while (srv_next(&conn.srv, &in, &out) == SRV_FLUSH && conn.srv.error == REPLY_OK) {
    }
    CHECK(conn.srv.error != REPLY_OK);
    CHECK(tarpit_begin(&conn, &out) && conn.tarpit != NULL);
    written = resumed = 0;
}

/* Without memory for its last reply a session was aborted, and yet got the answer that it had
 * waited for: an assertion ended the process. */
static void answer_after_a_reply_that_cannot_be_sent(void)
{
    ask();
    no_memory = true;
    srv_conn_end(&conn, SRV_CLOSE_SHUTDOWN);
    CHECK(aborted == 1 && conn.closing && !conn.srv.waiting);
    no_memory = false;
    srv_answer_late(&conn, REPLY_OK, SLICE_EMPTY);
    srv_answer_again(&conn);
    srv_conn_end(&conn, SRV_CLOSE_SHUTDOWN);
    CHECK(aborted == 1 && written == 0 && closed == 0);
}

/* The same where what cannot be sent is a reply that has waited. */
static void end_after_a_late_reply_that_cannot_be_sent(void)
{
    refuse();
    no_memory = true;
    srv_conn_go_on(&conn);
    CHECK(conn.closing && conn.tarpit == NULL && aborted == 1 && resumed == 0);
    no_memory = false;
    srv_conn_end(&conn, SRV_CLOSE_SHUTDOWN);
    CHECK(aborted == 1 && written == 0 && closed == 0);
}

/* What was sent meanwhile ended the delay of a reply: commands behind it were carried out before
 * it. */
static void sent_output_does_not_end_a_delay(void)
{
    refuse();
    on_drained(&conn.stream);
    CHECK(conn.tarpit != NULL && resumed == 0 && written == 0);
    shard.now_ns += ERROR_DELAY_MS * MX_NS_PER_MS;
    timer_fire(&conn.timer, shard.now_ns);
    CHECK(conn.tarpit == NULL && resumed == 1 && written == 1);
}

/* A reply to an error waited for its own time, up to a minute behind the end of the session. */
static void reply_that_waits_does_not_outlast_its_session(void)
{
    const uint64_t end_ns = conn.began_ns + SESSION_MS * MX_NS_PER_MS;
    shard.now_ns = end_ns - MX_NS_PER_S;
    conn.phase_ns = shard.now_ns;
    refuse();
    CHECK(conn.tarpit->until_ns > end_ns);
    CHECK(timer_armed(&conn.timer) && conn.timer.deadline_ns <= end_ns);
    shard.now_ns = end_ns;
    timer_fire(&conn.timer, shard.now_ns);
    CHECK(conn.closing && closed == 1 && conn.tarpit == NULL);
}

int main(void)
{
    static void (*const tests[])(void) = {
        answer_after_a_reply_that_cannot_be_sent,
        end_after_a_late_reply_that_cannot_be_sent,
        sent_output_does_not_end_a_delay,
        reply_that_waits_does_not_outlast_its_session,
    };
    for (size_t i = 0; i < mx_countof(tests); i++) {
        setup();
        tests[i]();
        teardown();
    }
    return 0;
}
