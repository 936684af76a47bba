#include "smtp/throttle.h"

#include "core/check.h"
#include "core/text.h"
#include "smtp/address_form.h"
#include "smtp/service.h"
#include "smtp/srv_conn.h"
#include "smtp/srv_stage.h"
#include "smtp/stage.h"

/* What a key is made of: the throttle itself, so that another rate begins anew, and its parts. */
enum {
    LENGTH_BYTES = 8,
    NAME_PART_MAX = LENGTH_BYTES + HELO_NAME_MAX,  /* a listener has a shorter one */
    ADDRESS_PART_MAX = LENGTH_BYTES + ADDRESS_MAX, /* or its domain */
    IP_PART_MAX = LENGTH_BYTES + 16,
    KEY_BYTES_MAX = 4 * LENGTH_BYTES + 2 * NAME_PART_MAX + 2 * IP_PART_MAX + 4 * ADDRESS_PART_MAX,
};

/* --- keys --------------------------------------------------------------------------------------
 */

static void put_number(struct writer *w, uint64_t value)
{
    for (unsigned i = 0; i < sizeof value; i++) {
        put_char(w, (char)(value >> 8 * i));
    }
}

/* Its length goes first, so that no two keys read the same. */
static void put_part(struct writer *w, struct slice text)
{
    put_number(w, text.len);
    for (size_t i = 0; i < text.len; i++) {
        put_char(w, ascii_lower(text.ptr[i]));
    }
}

static void put_address(struct writer *w, const struct netaddr *addr)
{
    enum { IPV4_BYTES = 4, IPV6_BYTES = 16 };
    put_number(w, addr->family);
    put_slice(w, slice_of(addr->bytes, addr->family == 4 ? IPV4_BYTES : IPV6_BYTES));
}

/* As smtp/session_count has it: an IPv4 address or an IPv6 network of 64 bits. */
static void put_client(struct writer *w, const struct netaddr *client)
{
    enum { NETWORK_BYTES = 8 };
    struct netaddr addr = *client;
    if (addr.family == 6) {
        memset(addr.bytes + NETWORK_BYTES, 0, sizeof addr.bytes - NETWORK_BYTES);
    }
    put_address(w, &addr);
}

static void put_local(struct writer *w, const struct srv_conn *conn)
{
    struct ring_addr local;
    struct netaddr addr = conn->server;
    if (addr.family == 0 && ring_local(&local, conn->stream.fd) == MX_OK) {
        addr = ring_addr_netaddr(&local);
    }
    put_address(w, &addr);
}

static uint64_t key_of(const struct srv_conn *conn, const struct inbound_throttle *throttle)
{
    uint8_t bytes[KEY_BYTES_MAX];
    struct writer w = writer_init(bytes, sizeof bytes);
    const struct listener_conf *listener = conn->listener->conf;
    put_number(&w, throttle->id);
    put_number(&w, throttle->count);
    put_number(&w, throttle->period_ms);
    put_number(&w, throttle->parts);
    for (unsigned part = 1; part < 1u << INBOUND_PARTS; part <<= 1) {
        switch (throttle->parts & part) {
        case INBOUND_LISTENER:
            put_part(&w, listener == NULL ? SLICE_EMPTY : listener->name);
            break;
        case INBOUND_REMOTE_IP:
            put_client(&w, &conn->client);
            break;
        case INBOUND_LOCAL_IP:
            put_local(&w, conn);
            break;
        case INBOUND_HELO_DOMAIN:
            put_part(&w, slice_of(conn->helo, conn->helo_len));
            break;
        case INBOUND_SENDER:
            put_part(&w, srv_stage_sender(conn));
            break;
        case INBOUND_SENDER_DOMAIN:
            put_part(&w, address_domain(srv_stage_sender(conn)));
            break;
        case INBOUND_PART_RCPT:
            put_part(&w, conn->srv.ask.text);
            break;
        case INBOUND_RCPT_DOMAIN:
            put_part(&w, address_domain(conn->srv.ask.text));
            break;
        default:
            break;
        }
    }
    MX_ASSERT(!w.overflow);
    return rate_table_key(conn->service->conf.rates, writer_slice(&w));
}

/* --- what applies ------------------------------------------------------------------------------
 */

/* Has the message a recipient of the same domain already? */
static bool domain_counted(const struct srv_conn *conn)
{
    const struct envelope *env = &conn->txn->env;
    struct slice domain = address_domain(conn->srv.ask.text);
    for (uint32_t i = 0; i < env->rcpt_count; i++) {
        if (text_equal_nocase(address_domain(env->rcpts[i].address), domain)) {
            return true;
        }
    }
    return false;
}

static bool concerns(const struct srv_conn *conn, const struct inbound_throttle *throttle,
                     enum inbound_stage stage)
{
    const unsigned per_rcpt = INBOUND_PART_RCPT | INBOUND_RCPT_DOMAIN;
    if (throttle->stage != stage) {
        return false;
    }
    if ((throttle->parts & INBOUND_REMOTE_IP) != 0 && srv_proxy_trusted(conn)) {
        return false;
    }
    return (throttle->parts & per_rcpt) != INBOUND_RCPT_DOMAIN || !domain_counted(conn);
}

/* *out_set: bits of the throttles that apply. PASSED: it is complete. */
static enum throttle_verdict choose(struct srv_conn *conn, enum inbound_stage stage,
                                    uint64_t *out_set, void (*again)(void *conn))
{
    const struct inbound_throttles *all = &conn->service->image->throttles;
    *out_set = 0;
    for (uint32_t i = 0; i < all->count; i++) {
        enum stage_verdict verdict = STAGE_TRUE;
        if (!concerns(conn, &all->items[i], stage)) {
            continue;
        }
        if (all->items[i].match != NULL) {
            verdict = srv_stage_match(conn, all->items[i].match, "MtaInboundThrottle.match", again);
        }
        switch (verdict) {
        case STAGE_TRUE:
            *out_set |= UINT64_C(1) << i;
            break;
        case STAGE_FALSE:
            break;
        case STAGE_LATER:
            return THROTTLE_LATER;
        case STAGE_FAILED:
            return THROTTLE_FAILED;
        }
    }
    return THROTTLE_PASSED;
}

/* --- counting ----------------------------------------------------------------------------------
 */

static struct throttle_row *row_of(const struct srv_conn *conn,
                                   const struct inbound_throttle *throttle)
{
    struct throttle_row *rows = conn->service->session_stats.throttles;
    return &rows[stats_row(rows, sizeof *rows, throttle->name)];
}

static void log_over(const struct srv_conn *conn, const struct inbound_throttle *throttle,
                     uint64_t wait_ns)
{
    static const char *const commands[INBOUND_STAGES] = {"connect", "EHLO", "MAIL", "RCPT"};
    struct log *log = &conn->service->shard->log;
    struct log_line *line = log_begin_repeated(log, LOG_INFO, "inbound-throttled");
    log_slice(line, "throttle", throttle->name);
    log_session(line, conn->number);
    log_client(line, &conn->client);
    log_text(line, "command", commands[throttle->stage]);
    if (throttle->stage >= INBOUND_MAIL) {
        log_slice(line, "address", conn->srv.ask.text);
    }
    log_u64(line, "count", throttle->count);
    log_u64(line, "period-ms", throttle->period_ms);
    log_u64(line, "wait-ms", wait_ns / MX_NS_PER_MS);
    log_end(log, line);
}

/* In the largest unit without a rest, or milliseconds. */
static void put_period(struct writer *w, uint64_t ms)
{
    static const struct {
        uint64_t ms;
        const char *unit;
    } units[] = {{86400000, " d"}, {3600000, " h"}, {60000, " min"}, {1000, " s"}, {1, " ms"}};
    size_t i = 0;
    while (ms % units[i].ms != 0) {
        i++;
    }
    put_decimal(w, ms / units[i].ms);
    put_text(w, units[i].unit);
}

/* "NAME (5 in 1 s), try again in 3 s" */
static struct slice say(struct throttling *own, const struct inbound_throttle *throttle,
                        uint64_t wait_ns)
{
    struct writer w = writer_init(own->text, sizeof own->text);
    put_slice(&w, slice_first(throttle->name, THROTTLE_NAME_MAX));
    put_text(&w, " (");
    put_decimal(&w, throttle->count);
    put_text(&w, " in ");
    put_period(&w, throttle->period_ms);
    put_text(&w, "), try again in ");
    put_decimal(&w, (wait_ns + MX_NS_PER_S - 1) / MX_NS_PER_S);
    put_text(&w, " s");
    MX_ASSERT(!w.overflow);
    return writer_slice(&w);
}

/* Gives back what throttles before the limit-th of the set gave. */
static void undo(struct srv_conn *conn, uint64_t set, const uint64_t *keys, uint32_t limit)
{
    const struct inbound_throttle *items = conn->service->image->throttles.items;
    for (uint32_t i = 0; i < limit; i++) {
        if ((set >> i & 1) != 0) {
            rate_table_give(conn->service->conf.rates, keys[i], &items[i].rate);
        }
    }
}

/* Takes one of each throttle of the set, or none. */
static enum throttle_verdict take(struct srv_conn *conn, uint64_t set, struct slice *out_text)
{
    struct service *service = conn->service;
    const struct inbound_throttles *all = &service->image->throttles;
    uint64_t keys[INBOUND_THROTTLES_MAX];
    for (uint32_t i = 0; i < all->count; i++) {
        if ((set >> i & 1) == 0) {
            continue;
        }
        const struct inbound_throttle *throttle = &all->items[i];
        bool forgotten;
        keys[i] = key_of(conn, throttle);
        uint64_t wait_ns = rate_table_take(service->conf.rates, keys[i], &throttle->rate,
                                           service->shard->now_ns, &forgotten);
        count_add(&service->session_stats.throttles_forgotten, forgotten);
        if (wait_ns > 0) {
            undo(conn, set, keys, i);
            count_one(&row_of(conn, throttle)->over);
            log_over(conn, throttle, wait_ns);
            *out_text = say(&service->throttling, throttle, wait_ns);
            return THROTTLE_OVER;
        }
    }
    for (uint32_t i = 0; i < all->count; i++) {
        if ((set >> i & 1) != 0) {
            count_one(&row_of(conn, &all->items[i])->passed);
        }
    }
    return THROTTLE_PASSED;
}

/* What the name at EHLO, as it is now, has been counted for. */
static struct throttle_hello *hello_of(struct srv_conn *conn)
{
    const struct service *service = conn->service;
    struct throttle_hello *hello = &conn->hello;
    uint8_t bytes[NAME_PART_MAX];
    struct writer w = writer_init(bytes, sizeof bytes);
    put_part(&w, slice_of(conn->helo, conn->helo_len));
    uint32_t name = (uint32_t)rate_table_key(service->conf.rates, writer_slice(&w));
    uint32_t generation = (uint32_t)service->generation;
    if (hello->name != name || hello->generation != generation) {
        *hello = (struct throttle_hello){.name = name, .generation = generation};
    }
    return hello;
}

enum throttle_verdict throttle_test(struct srv_conn *conn, enum inbound_stage stage,
                                    struct slice *out_text, void (*again)(void *conn))
{
    uint64_t set;
    if ((conn->service->image->throttles.stages & 1u << stage) == 0) {
        return THROTTLE_PASSED;
    }
    enum throttle_verdict verdict = choose(conn, stage, &set, again);
    struct throttle_hello *hello = stage == INBOUND_EHLO ? hello_of(conn) : NULL;
    if (verdict == THROTTLE_PASSED) {
        set &= hello != NULL ? ~hello->set : UINT64_MAX;
        verdict = take(conn, set, out_text);
    }
    if (verdict == THROTTLE_PASSED && hello != NULL) {
        hello->set |= set;
    }
    return verdict;
}
