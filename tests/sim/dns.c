/* The simulated name server, by UDP and TCP: it knows one host. While faults are on it is silent,
 * fails, lies, cuts answers short; and somebody else sends forged answers, which must never be
 * believed. */
#include "core/check.h"
#include "io/dns_codec.h"
#include "tests/sim/net_inside.h"
#include "tests/sim/peer.h"

#include <stdlib.h>

enum {
    ODDS = 12,
    HEAD_BYTES = 12,
    REFUSED = 5,
    FORGED_HOST = 66, /* 10.0.0.66 is where forged answers lead */
    REAL_HOST = 2,
    DEAD_HOST = 99,
};

static const struct netaddr server = {.family = 4, .bytes = {10, 0, 0, 53}, .port = 53};
static const struct netaddr forged = {.family = 4, .bytes = {10, 0, 0, FORGED_HOST}, .port = 25};
static const uint8_t known[] = "\006source\003sim";

/* --- answers -----------------------------------------------------------------------------------
 */

struct reply {
    uint8_t bytes[512];
    struct writer w;
};

static void put_be16(struct writer *w, unsigned value)
{
    put_u8(w, (uint8_t)(value >> 8));
    put_u8(w, (uint8_t)value);
}

static void put_address(struct writer *w, uint8_t host)
{
    put_be16(w, 0xc000 | HEAD_BYTES);
    put_be16(w, DNS_A);
    put_be16(w, 1);
    put_be16(w, 0);
    put_be16(w, (unsigned)sim_scale(0, 300));
    put_be16(w, 4);
    put_bytes(w, (uint8_t[]){10, 0, 0, host}, 4);
}

static void put_soa(struct writer *w)
{
    put_u8(w, 0);
    put_be16(w, DNS_SOA);
    put_be16(w, 1);
    put_be16(w, 0);
    put_be16(w, 60);
    put_be16(w, 22);
    put_be16(w, 0); /* two names: the root */
    for (unsigned i = 0; i < 5; i++) {
        put_be16(w, 0);
        put_be16(w, 30);
    }
}

/* The end of the question, or 0. */
static size_t question_end(struct slice query)
{
    size_t at = HEAD_BYTES;
    while (at < query.len && query.ptr[at] != 0) {
        at += 1U + query.ptr[at];
    }
    return at + 5 <= query.len ? at + 5 : 0;
}

static bool is_known(struct slice query, size_t end)
{
    struct dns_name asked = {.len = (uint8_t)(end - 4 - HEAD_BYTES)};
    struct dns_name host = {.len = sizeof known};
    memcpy(asked.wire, query.ptr + HEAD_BYTES, asked.len);
    memcpy(host.wire, known, sizeof known);
    return dns_name_equal(&asked, &host);
}

static void reply_begin(struct reply *reply, struct slice query, size_t end, unsigned flags,
                        unsigned answers, unsigned authorities)
{
    reply->w = writer_init(reply->bytes, sizeof reply->bytes);
    put_bytes(&reply->w, query.ptr, 2);
    put_be16(&reply->w, 0x8180 | flags);
    put_be16(&reply->w, 1);
    put_be16(&reply->w, answers);
    put_be16(&reply->w, authorities);
    put_be16(&reply->w, 0);
    put_bytes(&reply->w, query.ptr + HEAD_BYTES, end - HEAD_BYTES);
}

static void answer(struct reply *reply, struct slice query, size_t end)
{
    unsigned type = (unsigned)query.ptr[end - 4] << 8 | query.ptr[end - 3];
    bool fails = sim.faults && sim_chance(ODDS);
    if (fails) {
        reply_begin(reply, query, end, sim_chance(2) ? DNS_SERVFAIL : REFUSED, 0, 0);
    } else if (!is_known(query, end) || (sim.faults && sim_chance(2 * ODDS))) {
        reply_begin(reply, query, end, DNS_NXDOMAIN, 0, 1);
        put_soa(&reply->w);
    } else if (type != DNS_A) {
        reply_begin(reply, query, end, 0, 0, 1);
        put_soa(&reply->w);
    } else {
        bool dead = sim.faults && sim_chance(2);
        reply_begin(reply, query, end, 0, 1U + dead, 0);
        if (dead) {
            put_address(&reply->w, DEAD_HOST);
        }
        put_address(&reply->w, REAL_HOST);
    }
    MX_ASSERT(!reply->w.overflow);
}

/* --- UDP ---------------------------------------------------------------------------------------
 */

/* Looks right, but for the id, or the case of a letter of the name. */
static void forge(struct reply *reply, struct slice query, size_t end)
{
    reply_begin(reply, query, end, 0, 1, 0);
    put_address(&reply->w, FORGED_HOST);
    if (sim_chance(2)) {
        reply->bytes[1] ^= (uint8_t)(1 + sim_below(255));
    } else {
        reply->bytes[HEAD_BYTES + 1 + sim_below(6)] ^= 0x20;
    }
}

void dns_receive(struct end *end, struct slice query)
{
    struct reply reply;
    size_t question = question_end(query);
    MX_ASSERT(question > 0 && netaddr_equal(&end->at, &server));
    if (sim.faults && sim_chance(ODDS)) {
        forge(&reply, query, question);
        datagram_add(end, writer_slice(&reply.w));
    }
    if (sim.faults && sim_chance(ODDS)) {
        return; /* lost */
    }
    answer(&reply, query, question);
    if (sim.faults && sim_chance(ODDS)) {
        reply_begin(&reply, query, question, 0x0200, 0, 0); /* truncated */
    }
    datagram_add(end, writer_slice(&reply.w));
}

/* --- TCP ---------------------------------------------------------------------------------------
 */

static void step(struct peer *peer)
{
    bool open = peer_pump(peer);
    size_t len = peer->in.len < 2 ? 0 : (size_t)peer->in.at[0] << 8 | peer->in.at[1];
    if (open && len > 0 && peer->in.len >= 2 + len) {
        struct slice query = slice_of(peer->in.at + 2, len);
        struct reply reply;
        answer(&reply, query, question_end(query));
        bytes_add(&peer->out,
                  slice_of((uint8_t[]){(uint8_t)(reply.w.len >> 8), (uint8_t)reply.w.len}, 2));
        bytes_add(&peer->out, writer_slice(&reply.w));
        bytes_drop(&peer->in, 2 + len);
        peer->cut_at = sim.faults && sim_chance(4) ? peer->sent + 1 + sim_below(40) : 0;
        peer->poked = true;
    }
    peer->finished = peer->sock == NULL;
}

static void accepted(void *arg, struct sock *sock)
{
    (void)arg;
    struct peer *peer = sim_alloc(sizeof *peer);
    peer->sock = sock;
    sock->peer = peer;
    peer_init(peer, step);
}

static void deceived(void *arg, struct sock *sock)
{
    (void)arg;
    (void)sock;
    sim_fail("a connection to where a forged DNS answer leads");
}

void dns_start(void)
{
    net_listen(&server, accepted, NULL);
    net_listen(&forged, deceived, NULL);
}
