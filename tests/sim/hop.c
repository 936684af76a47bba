/* Simulated next hops: SMTP and LMTP servers that take what comes, and while faults are on refuse,
 * stall, cut connections, or lose their last reply. */
#include "core/check.h"
#include "core/text.h"
#include "tests/sim/oracle.h"
#include "tests/sim/peer.h"
#include "tests/sim/settings.h"
#include "tests/sim/sim.h"
#include "tests/sim/strategies.h"

#include <stdio.h>

enum { RCPTS_MAX = 128, ODDS = 12 };

struct host {
    struct netaddr at;
    bool lmtp;
    const char *domain;
    bool final; /* takes DSNs: never says no for good, or the last word about a message is lost */
};

static struct host hosts[] = {
    {{.family = 4, .bytes = {10, 0, 0, 2}, .port = 25}, false, "@source.example", false},
    {{.family = 4, .bytes = {10, 0, 0, 3}, .port = 24}, true, "@lmtp.example", false},
    {{.family = 4, .bytes = {10, 0, 0, 4}, .port = 25}, false, "@back.example", true},
    /* where the first two move to */
    {{.family = 4, .bytes = {10, 0, 0, 5}, .port = 25}, false, "@source.example", false},
    {{.family = 4, .bytes = {10, 0, 0, 6}, .port = 25}, false, "@lmtp.example", false},
};

struct session {
    struct peer peer;
    const struct host *host;
    bool pipelining, chunking, starttls, tls;
    bool in_data, in_transaction, silent;
    size_t chunk_left; /* of a BDAT */
    bool in_chunk, chunk_last, bad_chunk;
    char ehlo[MAIL_ADDRESS_MAX];
    char sender[MAIL_ADDRESS_MAX * 2];
    char rcpts[RCPTS_MAX][MAIL_ADDRESS_MAX];
    unsigned rcpt_count;
    struct bytes content;
};

/* --- misbehaviour ------------------------------------------------------------------------------
 */

/* Where mail expires, the host of the notices is kind: they would expire as well. */
static bool unkind(const struct session *s)
{
    return sim.faults && !(s->host->final && sim.hops_from_ns > 0) && sim_chance(ODDS);
}

/* For good: a DSN follows, which the oracle waits for. */
static bool may_refuse(const struct session *s, const char *rcpt)
{
    return !s->host->final && oracle_may_reject(slice_of_text(s->sender), slice_of_text(rcpt));
}

/* True when something else than a good reply happened. */
static bool misbehave(struct session *s, bool may_refuse)
{
    if (!unkind(s)) {
        return false;
    }
    switch (sim_below(5)) {
    case 0:
        peer_close(&s->peer, sim_chance(2));
        return true;
    case 1:
        s->silent = sim_chance(4);
        return s->silent;
    default:
        if (may_refuse) {
            bool forever = !s->host->final && s->sender[0] != '\0' && sim_chance(2);
            peer_say(&s->peer, forever ? "550 5.7.1 never\r\n" : "451 4.3.0 later\r\n");
            if (forever) {
                oracle_rejected_all(slice_of_text(s->sender), s->host->domain);
            }
        }
        return may_refuse;
    }
}

/* --- the end of a message ----------------------------------------------------------------------
 */

static void forget(struct session *s)
{
    s->in_transaction = false;
    s->in_data = s->in_chunk = false;
    s->rcpt_count = 0;
    bytes_clear(&s->content);
}

static void one_answer(struct session *s, unsigned first, unsigned count, bool lose)
{
    struct slice content = slice_of(s->content.at, s->content.len);
    /* When the answer is lost, so are those behind it. */
    unsigned luck = sim.faults && !lose && !(s->host->final && sim.hops_from_ns > 0)
                        ? (unsigned)sim_below(ODDS)
                        : ODDS;
    struct slice sender = slice_of_text(s->sender);
    uint64_t end = s->peer.sent + s->peer.out.len + strlen("250 2.0.0 taken\r\n");
    if (lose) {
        end = UINT64_MAX;
    }
    for (unsigned i = first; luck == 1 && i < first + count; i++) {
        luck = may_refuse(s, s->rcpts[i]) ? 1 : 0;
    }
    if (luck == 0) {
        peer_say(&s->peer, "452 4.2.2 full\r\n");
        return;
    }
    if (luck > 1 && !lose) {
        peer_say(&s->peer, "250 2.0.0 taken\r\n");
    } else if (luck == 1) {
        peer_say(&s->peer, "554 5.6.0 bad\r\n");
    }
    for (unsigned i = first; i < first + count; i++) {
        struct slice rcpt = slice_of_text(s->rcpts[i]);
        if (luck == 1) {
            oracle_rejected(sender, rcpt);
        } else {
            oracle_delivered(sender, rcpt, content, s->peer.sock, end);
        }
    }
}

static void message_ends(struct session *s)
{
    bool lose = unkind(s);
    if (unkind(s)) {
        peer_close(&s->peer, sim_chance(2)); /* without having taken it */
        return;
    }
    if (s->host->lmtp) {
        for (unsigned i = 0; i < s->rcpt_count; i++) {
            one_answer(s, i, 1, lose);
        }
    } else {
        one_answer(s, 0, s->rcpt_count, lose);
    }
    forget(s);
    if (lose && sim_chance(2)) {
        peer_close(&s->peer, sim_chance(2));
    } else if (lose) {
        s->silent = true;
    }
}

/* --- commands ----------------------------------------------------------------------------------
 */

static bool starts(struct slice line, const char *word)
{
    return text_starts_nocase(line, slice_of_text(word));
}

static void path_of(char *out, size_t cap, struct slice line)
{
    size_t from = slice_find(line, '<'), to = slice_find(line, '>');
    MX_ASSERT(from < to && to < line.len && to - from < cap);
    memcpy(out, line.ptr + from + 1, to - from - 1);
    out[to - from - 1] = '\0';
}

static void on_hello(struct session *s, struct slice line)
{
    struct slice name = slice_from(line, mx_min_size(strlen("EHLO "), line.len));
    (void)snprintf(s->ehlo, sizeof s->ehlo, "%.*s", SLICE_ARGS(name));
    if (misbehave(s, true)) {
        return;
    }
    peer_say(&s->peer, "250-hop.example\r\n");
    if (s->pipelining) {
        peer_say(&s->peer, "250-PIPELINING\r\n");
    }
    if (s->chunking) {
        peer_say(&s->peer, "250-CHUNKING\r\n");
    }
    if (s->starttls && !s->tls) {
        peer_say(&s->peer, "250-STARTTLS\r\n");
    }
    peer_say(&s->peer, "250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n");
}

static void on_mail(struct session *s, struct slice line)
{
    forget(s);
    s->sender[0] = '\0';
    path_of(s->sender, sizeof s->sender, line);
    if (!misbehave(s, true)) {
        s->in_transaction = true;
        peer_say(&s->peer, "250 2.1.0 sender\r\n");
    }
}

static void on_rcpt(struct session *s, struct slice line)
{
    if (!s->in_transaction || s->rcpt_count == RCPTS_MAX) {
        peer_say(&s->peer, "503 5.5.1 no\r\n");
        return;
    }
    path_of(s->rcpts[s->rcpt_count], MAIL_ADDRESS_MAX, line);
    strategies_check(s->ehlo, s->rcpts[s->rcpt_count]);
    bool asks = s->sender[0] == '\0' && settings_verification() != DIR_VERIFY_OFF;
    if (asks && strncmp(s->rcpts[s->rcpt_count], "user", 4) == 0) { /* always here */
        sim_fail("a next hop was asked about %s", s->rcpts[s->rcpt_count]);
    }
    struct slice rcpt = slice_of_text(s->rcpts[s->rcpt_count]);
    if (oracle_offered(rcpt, s->peer.sock)) {
        peer_say(&s->peer, "450 4.2.0 come again\r\n");
        return;
    }
    if (unkind(s)) {
        bool forever = !asks && may_refuse(s, s->rcpts[s->rcpt_count]) && sim_chance(2);
        peer_say(&s->peer, forever ? "550 5.1.1 unknown\r\n" : "450 4.2.1 busy\r\n");
        if (forever) {
            oracle_rejected(slice_of_text(s->sender), rcpt);
        }
        return;
    }
    if (strncmp(s->rcpts[s->rcpt_count], "nobody", 6) == 0) {
        peer_say(&s->peer, "550 5.1.1 unknown\r\n");
        return;
    }
    s->rcpt_count++;
    peer_say(&s->peer, "250 2.1.5 recipient\r\n");
}

static void on_data(struct session *s)
{
    if (s->rcpt_count == 0) {
        peer_say(&s->peer, "554 5.5.1 no recipients\r\n");
    } else if (!misbehave(s, false)) {
        s->in_data = true;
        peer_say(&s->peer, "354 go on\r\n");
    }
}

static void on_bdat(struct session *s, struct slice line)
{
    s->chunk_left = 0;
    for (size_t i = 5; i < line.len && ascii_is_digit(line.ptr[i]); i++) {
        s->chunk_left = s->chunk_left * 10 + (size_t)(line.ptr[i] - '0');
    }
    s->in_chunk = true;
    s->bad_chunk = s->rcpt_count == 0;
    s->chunk_last = line.len >= 4 && starts(slice_from(line, line.len - 4), "LAST");
}

static void on_command(struct session *s, struct slice line)
{
    sim_say("hop %u <- %.*s", s->host->at.bytes[3], SLICE_ARGS(line));
    if (starts(line, "EHLO") || starts(line, "LHLO") || starts(line, "HELO")) {
        on_hello(s, line);
    } else if (starts(line, "MAIL")) {
        on_mail(s, line);
    } else if (starts(line, "RCPT")) {
        on_rcpt(s, line);
    } else if (starts(line, "DATA")) {
        on_data(s);
    } else if (starts(line, "BDAT")) {
        on_bdat(s, line);
    } else if (starts(line, "STARTTLS") && s->starttls) {
        peer_say(&s->peer, "220 2.0.0 tls\r\n");
        s->tls = true; /* the next byte is the client's hello */
    } else if (starts(line, "RSET")) {
        forget(s);
        peer_say(&s->peer, "250 2.0.0 reset\r\n");
    } else if (starts(line, "QUIT")) {
        peer_say(&s->peer, "221 2.0.0 bye\r\n");
        s->peer.closing = true;
    } else {
        sim_fail("a next hop got: %.*s", SLICE_ARGS(line));
    }
}

/* --- input -------------------------------------------------------------------------------------
 */

static bool take_data(struct session *s)
{
    struct slice line;
    size_t bytes;
    if (!peer_line(&s->peer, &line, &bytes)) {
        return false;
    }
    if (slice_equal(line, SLICE_LITERAL("."))) {
        bytes_drop(&s->peer.in, bytes);
        message_ends(s);
        return true;
    }
    size_t skip = line.len > 0 && line.ptr[0] == '.';
    bytes_add(&s->content, slice_of(s->peer.in.at + skip, bytes - skip));
    bytes_drop(&s->peer.in, bytes);
    return true;
}

static bool take_chunk(struct session *s)
{
    size_t n = mx_min_size(s->chunk_left, s->peer.in.len);
    if (!s->bad_chunk) {
        bytes_add(&s->content, slice_of(s->peer.in.at, n));
    }
    bytes_drop(&s->peer.in, n);
    s->chunk_left -= n;
    if (s->chunk_left > 0) {
        return false;
    }
    s->in_chunk = false;
    if (s->bad_chunk) {
        peer_say(&s->peer, "503 5.5.1 no recipients\r\n");
    } else if (s->chunk_last) {
        message_ends(s);
    } else {
        peer_say(&s->peer, "250 2.0.0 chunk\r\n");
    }
    return true;
}

static bool take_one(struct session *s)
{
    struct slice line;
    size_t bytes;
    if (s->in_data) {
        return take_data(s);
    }
    if (s->in_chunk) {
        return take_chunk(s);
    }
    if (s->peer.in.len > 0 && s->peer.in.at[0] == 0x16) {
        bytes_drop(&s->peer.in, 1);
        bytes_add(&s->peer.out, SLICE_LITERAL("\x17"));
        s->peer.poked = true;
        return true;
    }
    if (!peer_line(&s->peer, &line, &bytes)) {
        return false;
    }
    char copy[2048];
    MX_ASSERT(line.len < sizeof copy);
    memcpy(copy, line.ptr, line.len);
    line = slice_of(copy, line.len);
    bytes_drop(&s->peer.in, bytes);
    on_command(s, line);
    return true;
}

static void step(struct peer *peer)
{
    struct session *s = mx_container_of(peer, struct session, peer);
    bool open = peer_pump(peer);
    while (open && !s->silent && take_one(s)) {
        open = peer->sock != NULL;
    }
    peer->finished = peer->sock == NULL;
}

static void end(struct peer *peer)
{
    bytes_clear(&mx_container_of(peer, struct session, peer)->content);
}

static void accepted(void *arg, struct sock *sock)
{
    struct session *s = sim_alloc(sizeof *s);
    s->host = arg;
    s->peer.sock = sock;
    sock->peer = &s->peer;
    s->pipelining = !sim_chance(3);
    s->chunking = !sim_chance(3);
    s->starttls = sim_chance(3);
    peer_init(&s->peer, step);
    s->peer.end = end;
    if (!misbehave(s, true)) {
        peer_say(&s->peer, "220 hop.example ready\r\n");
    }
}

void hops_start(void)
{
    for (size_t i = 0; i < mx_countof(hosts); i++) {
        net_listen(&hosts[i].at, accepted, &hosts[i]);
    }
}
