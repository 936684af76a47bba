/* Simulated clients: they connect, send a few messages in one of several ways, and note every
 * answer. They insist on one reply per command, in order. */
#include "core/check.h"
#include "core/text.h"
#include "route/dir_record.h"
#include "tests/sim/manager.h"
#include "tests/sim/oracle.h"
#include "tests/sim/peer.h"
#include "tests/sim/rates.h"
#include "tests/sim/sim.h"

#include <stdio.h>

enum tag {
    T_BANNER,
    T_EHLO,
    T_TLS,
    T_MAIL,
    T_RCPT,
    T_DATA,
    T_CHUNK,
    T_END,
    T_RSET,
    T_QUIT,
    T_TRY_MAIL, /* a transaction that only tries recipients */
    T_TRY
};
enum { TAGS_MAX = 64, RECONNECT_MS = 200, BUSY_TIMES = 20, TRIES = 8, TRY_NAMES = 6 };

struct client {
    struct peer peer;
    struct client_plan plan;
    enum tag tags[TAGS_MAX];
    unsigned tag_count;
    unsigned rcpt_replies; /* of the message so far */
    unsigned wanted;
    bool tls, tls_wait;
    bool hello; /* the reply to EHLO has not begun */
    bool pipelined, bdat;
    bool second;      /* it comes through the proxy */
    bool told_busy;   /* 421: it comes again later than others */
    bool bad_header;  /* which garbles its header: no session may begin */
    bool early;       /* it speaks before the banner, which waits there */
    char address[24]; /* that the server is to see */
    char host[64];    /* the server's name in this session */
    uint64_t epoch;   /* of the configuration, when it asked */
    struct mail *mail;
    bool trouble;    /* something could go wrong when it connected */
    bool tried;      /* before the next message */
    bool tries_good; /* its MAIL was accepted */
    unsigned try_replies;
    char tries[TRIES][MAIL_ADDRESS_MAX];
};

static struct {
    unsigned open; /* clients that are not done */
    bool stopped;
} clients;

static const struct netaddr servers[] = {{.family = 4, .bytes = {10, 0, 0, 1}, .port = 25},
                                         {.family = 4, .bytes = {10, 0, 0, 1}, .port = 2525}};

static void step(struct peer *peer);

static void expect(struct client *c, enum tag tag)
{
    MX_ASSERT(c->tag_count < TAGS_MAX);
    c->tags[c->tag_count++] = tag;
}

static void hello(struct client *c)
{
    c->hello = true;
    expect(c, T_EHLO);
    peer_say(&c->peer, "EHLO client.example\r\n");
}

/* --- one message -------------------------------------------------------------------------------
 */

static void say_rcpt(struct client *c, unsigned i)
{
    c->epoch = i == 0 || !c->pipelined ? manager_epoch() : c->epoch;
    expect(c, T_RCPT);
    const struct mail_rcpt *rcpt = &c->mail->rcpts[i];
    peer_say(&c->peer, "RCPT TO:<%s>%s\r\n", rcpt->address, oracle_notify(rcpt));
}

static void say_content(struct client *c)
{
    const struct mail *mail = c->mail;
    bool line_start = true;
    size_t from = 0;
    for (size_t i = 0; i < mail->len; i++) {
        if (line_start && mail->content[i] == '.') {
            bytes_add(&c->peer.out, slice_of(mail->content + from, i - from));
            bytes_add(&c->peer.out, SLICE_LITERAL("."));
            from = i;
        }
        line_start = mail->content[i] == '\n';
    }
    bytes_add(&c->peer.out, slice_of(mail->content + from, mail->len - from));
    expect(c, T_END);
    peer_say(&c->peer, ".\r\n");
}

static void say_chunks(struct client *c)
{
    size_t at = 0;
    while (at < c->mail->len && c->tag_count < TAGS_MAX - 8) {
        size_t left = c->mail->len - at;
        size_t n = sim_chance(2) || c->tag_count > TAGS_MAX - 16 ? left : 1 + sim_below(left);
        bool last = n == left;
        expect(c, last ? T_END : T_CHUNK);
        peer_say(&c->peer, "BDAT %zu%s\r\n", n, last ? " LAST" : "");
        bytes_add(&c->peer.out, slice_of(c->mail->content + at, n));
        at += n;
    }
}

static void quit(struct client *c)
{
    c->mail = NULL;
    expect(c, T_QUIT);
    peer_say(&c->peer, "QUIT\r\n");
}

/* Recipients that are there, that are not, and that are here, all at once: the replies tell which
 * is which, in order. */
static void try_some(struct client *c)
{
    static const struct {
        const char *name, *domain;
    } forms[] = {{"nobody", "source"}, {"known", "source"}, {"user", "local"}, {"nobody", "lmtp"}};
    c->tried = true;
    c->try_replies = 0;
    expect(c, T_TRY_MAIL);
    peer_say(&c->peer, "MAIL FROM:<try@client.example>\r\n");
    for (unsigned i = 0; i < TRIES; i++) {
        unsigned form = (unsigned)sim_below(mx_countof(forms));
        unsigned number = (unsigned)sim_below(form == 2 ? 2 : TRY_NAMES);
        char *address = c->tries[i];
        (void)snprintf(address, sizeof c->tries[i], "%s%u@%s.example", forms[form].name, number,
                       forms[form].domain);
        expect(c, T_TRY);
        peer_say(&c->peer, "RCPT TO:<%s>\r\n", address);
    }
    expect(c, T_RSET);
    peer_say(&c->peer, "RSET\r\n");
}

static void on_try(struct client *c, unsigned code)
{
    const char *address = c->tries[c->try_replies++];
    bool nobody = strncmp(address, "nobody", 6) == 0;
    bool refused = code / 100 == 5, put_off = code / 100 == 4;
    if (!c->tries_good) {
        return;
    }
    /* Who is there is never refused, and while nothing goes wrong nobody is put off either. */
    bool trouble = c->trouble || sim.faults || sim.struck;
    bool let_in = code == 250 && c->plan.verify == DIR_VERIFY_ELSE_ACCEPT;
    bool good =
        nobody ? refused || (trouble && (put_off || let_in)) : code == 250 || (trouble && put_off);
    if (!good) {
        sim_fail("RCPT to %s, which is only tried, was answered %u", address, code);
    }
}

static void next_message(struct client *c)
{
    if (c->plan.messages == 0 || clients.stopped) {
        quit(c);
        return;
    }
    if (c->plan.verify != DIR_VERIFY_OFF && !c->tried) {
        try_some(c);
        return;
    }
    c->tried = false;
    c->plan.messages--;
    c->mail = oracle_mail((size_t)sim_scale(1, c->plan.bytes_max));
    (void)snprintf(c->mail->client, sizeof c->mail->client, "%s", c->address);
    c->rcpt_replies = c->wanted = 0;
    c->pipelined = sim_chance(2);
    c->bdat = sim_chance(3);
    expect(c, T_MAIL);
    if (sim_chance(2)) {
        peer_say(&c->peer, "MAIL FROM:<%s> SIZE=%zu\r\n", c->mail->sender, c->mail->len);
    } else {
        peer_say(&c->peer, "MAIL FROM:<%s>\r\n", c->mail->sender);
    }
    if (!c->pipelined) {
        return;
    }
    for (unsigned i = 0; i < c->mail->rcpt_count; i++) {
        say_rcpt(c, i);
    }
    if (c->bdat) {
        c->mail->state = MAIL_UNKNOWN;
        say_chunks(c);
    } else {
        expect(c, T_DATA);
        peer_say(&c->peer, "DATA\r\n");
    }
}

/* The transaction may still be open. */
static void reset(struct client *c)
{
    expect(c, T_RSET);
    peer_say(&c->peer, "RSET\r\n");
}

static void content_or_reset(struct client *c)
{
    if (c->wanted == 0) {
        c->mail->state = MAIL_REFUSED;
        reset(c);
    } else if (c->bdat) {
        c->mail->state = MAIL_UNKNOWN;
        say_chunks(c);
    } else {
        expect(c, T_DATA);
        peer_say(&c->peer, "DATA\r\n");
    }
}

/* --- replies -----------------------------------------------------------------------------------
 */

/* While the configuration stands still everybody knows the answer. */
static void check_rcpt(const struct client *c, unsigned i, unsigned code)
{
    if (c->epoch % 2 != 0 || c->epoch != manager_epoch()) {
        return;
    }
    const char *address = c->mail->rcpts[i].address;
    bool accepts = settings_accepts(&settings_store.now, address);
    if (accepts ? code / 100 == 5 && code != 503 : code == 250) {
        sim_fail("RCPT to %s was answered %u", address, code);
    }
}

/* What rates count once for a message. */
static void note_domain(const struct mail *mail, unsigned n)
{
    const char *domain = strchr(mail->rcpts[n].address, '@');
    for (unsigned i = 0; i < n; i++) {
        const char *other = strchr(mail->rcpts[i].address, '@');
        if (mail->rcpts[i].wanted && domain != NULL && other != NULL &&
            strcmp(other, domain) == 0) {
            return;
        }
    }
    rates_domain(domain == NULL ? "" : domain);
}

static void on_rcpt(struct client *c, unsigned code)
{
    bool good = code == 250;
    unsigned i = c->rcpt_replies++;
    check_rcpt(c, i, code);
    oracle_rcpt(c->mail, i, good);
    if (good) {
        note_domain(c->mail, i);
    } else if (code == 452) {
        rates_over();
    }
    c->wanted += good;
    if (c->pipelined) {
        return;
    }
    if (c->rcpt_replies < c->mail->rcpt_count) {
        say_rcpt(c, c->rcpt_replies);
    } else {
        content_or_reset(c);
    }
}

static void on_reply(struct client *c, enum tag tag, unsigned code)
{
    switch (tag) {
    case T_BANNER:
    case T_EHLO:
        if (tag == T_BANNER && code == 554) {
            sim_fail("who waited for the banner is taken for an early talker");
        }
        if (code / 100 != 2) {
            quit(c);
        } else if (tag == T_BANNER) {
            rates_session();
            hello(c);
        } else if (!c->tls && sim_chance(4)) {
            expect(c, T_TLS);
            peer_say(&c->peer, "STARTTLS\r\n");
        } else {
            next_message(c);
        }
        break;
    case T_TLS:
        if (code != 220) {
            next_message(c);
            break;
        }
        c->tls_wait = true;
        bytes_add(&c->peer.out, SLICE_LITERAL("\x16"));
        c->peer.poked = true;
        break;
    case T_MAIL:
        if (code != 250 && !c->pipelined) {
            c->mail->state = MAIL_REFUSED;
            reset(c);
        } else if (!c->pipelined) {
            say_rcpt(c, 0);
        }
        break;
    case T_RCPT:
        on_rcpt(c, code);
        break;
    case T_TRY_MAIL:
        c->tries_good = code == 250;
        break;
    case T_TRY:
        on_try(c, code);
        break;
    case T_DATA:
        if (code == 354) {
            c->mail->state = MAIL_UNKNOWN;
            say_content(c);
        } else {
            c->mail->state = MAIL_REFUSED;
            reset(c);
        }
        break;
    case T_CHUNK:
        break;
    case T_END:
        oracle_answered(c->mail, code == 250);
        if (code == 250) {
            next_message(c);
        } else {
            reset(c);
        }
        break;
    case T_RSET:
        next_message(c);
        break;
    case T_QUIT:
    default:
        peer_close(&c->peer, false);
    }
}

/* Whatever the configuration does, a session has one name of the server. */
static void check_host(struct client *c, enum tag tag, struct slice line)
{
    char host[sizeof c->host];
    struct slice word = slice_from(line, mx_min_size(4, line.len));
    word = slice_first(word, mx_min_size(slice_find(word, ' '), sizeof host - 1));
    (void)snprintf(host, sizeof host, "%.*s", SLICE_ARGS(word));
    if (tag == T_BANNER) {
        memcpy(c->host, host, sizeof host);
    } else if (tag == T_EHLO && c->hello) {
        c->hello = false;
        if (strcmp(c->host, host) != 0) {
            sim_fail("the session of %s goes on with %s", c->host, host);
        }
    }
}

/* 421 may come at any time instead of a reply, or on its own. */
static void take_reply(struct client *c, struct slice line)
{
    unsigned code = 0;
    for (unsigned i = 0; i < 3; i++) {
        if (line.len < 3 || !ascii_is_digit(line.ptr[i])) {
            sim_fail("not a reply: %.*s", SLICE_ARGS(line));
        }
        code = code * 10 + (unsigned)(line.ptr[i] - '0');
    }
    if (c->bad_header && code != 421) {
        sim_fail("a session began behind a malformed PROXY header: %.*s", SLICE_ARGS(line));
    }
    if (c->early) {
        if (code != 554 && code != 421 && code != 220) { /* its bytes may come after the delay */
            sim_fail("an early talker was answered: %.*s", SLICE_ARGS(line));
        }
        peer_close(&c->peer, false);
        return;
    }
    if (c->tag_count > 0 && code / 100 == 2) {
        check_host(c, c->tags[0], line);
    }
    if (line.len > 3 && line.ptr[3] == '-') {
        return;
    }
    if (sim.trace) {
        sim_say("client <- %.*s", SLICE_ARGS(line));
    }
    if (code == 421) {
        c->told_busy = true;
        if (c->tag_count > 0 && c->tags[0] == T_BANNER) {
            rates_over();
        }
        peer_close(&c->peer, false);
        return;
    }
    if (c->tag_count == 0) {
        sim_fail("a reply to nothing: %.*s", SLICE_ARGS(line));
    }
    enum tag tag = c->tags[0];
    c->tag_count--;
    memmove(c->tags, c->tags + 1, c->tag_count * sizeof c->tags[0]);
    on_reply(c, tag, code);
}

static void take_replies(struct client *c)
{
    struct slice line;
    size_t bytes;
    while (c->peer.in.len > 0) {
        if (c->tls_wait) {
            if (c->peer.in.at[0] != 0x17) {
                sim_fail("not a TLS answer");
            }
            bytes_drop(&c->peer.in, 1);
            c->tls_wait = false;
            c->tls = true;
            hello(c);
            continue;
        }
        if (!peer_line(&c->peer, &line, &bytes)) {
            return;
        }
        take_reply(c, line);
        bytes_drop(&c->peer.in, bytes);
    }
}

/* --- life --------------------------------------------------------------------------------------
 */

/* The PROXY protocol, version 1 or 2 (LOCAL: the proxy itself), or not quite. */
static void say_proxy(struct client *c)
{
    static const uint8_t v2[] = {0x0d, 0x0a, 0x0d, 0x0a, 0,    0x0d, 0x0a, 'Q', 'U', 'I',
                                 'T',  0x0a, 0x21, 0x11, 0,    12,   198,  51,  100, 8,
                                 10,   0,    0,    1,    0x10, 0,    9,    0xdd};
    uint8_t header[sizeof v2];
    memcpy(header, v2, sizeof v2);
    unsigned kind = (unsigned)sim_below(6);
    const char *seen = kind == 0 ? "198.51.100.7" : kind == 1 ? "192.0.2.1" : "198.51.100.8";
    (void)snprintf(c->address, sizeof c->address, "([%s])", seen);
    if (kind == 0) {
        peer_say(&c->peer, "PROXY TCP4 198.51.100.7 10.0.0.1 4096 2525\r\n");
        return;
    }
    header[12] = kind == 1 ? 0x20 : 0x21;
    c->bad_header = kind == 2;
    c->early = kind > 2 && sim_chance(8); /* of the proxy itself nothing waits */
    if (c->bad_header) {
        header[sim_below(12)] ^= 0x20;
    }
    bytes_add(&c->peer.out, slice_of(header, sizeof header));
    if (c->early) {
        peer_say(&c->peer, "EHLO early.example\r\nMAIL FROM:<early@client.example>\r\n");
    }
    c->peer.poked = true;
}

static void connect_again(struct client *c)
{
    bytes_clear(&c->peer.in);
    bytes_clear(&c->peer.out);
    c->tag_count = 0;
    c->tls = c->tls_wait = false;
    c->mail = NULL;
    c->trouble = sim.faults;
    if (c->plan.messages == 0 || clients.stopped) {
        c->peer.finished = true;
        clients.open--;
        return;
    }
    c->second = c->plan.second && sim_chance(2);
    c->peer.sock = net_connect(&c->peer, &servers[c->second]);
    if (c->peer.sock == NULL) {
        c->peer.wake_ns = sim.now_ns + RECONNECT_MS * MX_NS_PER_MS;
        return;
    }
    c->peer.gone = false;
    c->peer.sent = 0;
    c->peer.cut_at = c->plan.misbehave && sim.faults && sim_chance(4)
                         ? 1 + sim_scale(1, 2 * c->plan.bytes_max)
                         : 0;
    (void)snprintf(c->address, sizeof c->address, "([192.0.2.1])");
    c->bad_header = c->early = false;
    if (c->second) {
        say_proxy(c);
    }
    expect(c, T_BANNER);
}

static void step(struct peer *peer)
{
    struct client *c = mx_container_of(peer, struct client, peer);
    if (peer->sock == NULL) {
        connect_again(c);
        return;
    }
    (void)peer_pump(peer);
    take_replies(c);
    if (peer->gone) {
        unsigned times = c->told_busy ? BUSY_TIMES : 1;
        peer->poked = peer->poked && !c->told_busy; /* what still happens does not bring it back */
        peer->wake_ns = sim.now_ns + times * sim_scale(1, RECONNECT_MS) * MX_NS_PER_MS;
        c->told_busy = false;
        c->mail = NULL;
    }
}

void client_start(const struct client_plan *plan)
{
    struct client *c = sim_alloc(sizeof *c);
    c->plan = *plan;
    peer_init(&c->peer, step);
    c->peer.poked = false;
    c->peer.wake_ns = sim.now_ns + sim_scale(0, 1000) * MX_NS_PER_MS;
    clients.open++;
}

bool clients_done(void)
{
    return clients.open == 0;
}

void clients_stop(void)
{
    clients.stopped = true;
}

void clients_reset(void)
{
    clients.open = 0;
    clients.stopped = false;
}
