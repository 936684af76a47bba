#include "tests/sim/crowd.h"

#include "core/check.h"
#include "core/text.h"
#include "smtp/srv_conn.h"
#include "smtp/srv_proxy.h"
#include "tests/sim/manager.h"
#include "tests/sim/oracle.h"
#include "tests/sim/peer.h"
#include "tests/sim/sim.h"

/* The last one is the proxy itself; those before it of IPv6 are behind it only. */
enum { FIRST_V6 = 4, PROXY = 6, FACES = 7, ABUSE_MAX = 3, PAUSE_MS = 300, HOLD_MS = 2000 };

enum tag { T_BANNER, T_EHLO, T_MAIL, T_RCPT, T_END, T_RSET, T_QUIT };

struct guest {
    struct peer peer;
    unsigned sessions; /* still to come */
    unsigned face;     /* whose session it is */
    bool behind;       /* the proxy */
    bool malformed;    /* its header */
    bool abuses;       /* names recipients that do not exist */
    bool holds;        /* stays idle until wake_ns */
    bool answered;     /* something came */
    enum tag tag;      /* what the next reply is to */
    unsigned mails, rcpt, wanted;
    struct mail *mail;
    char address[32];   /* as the server is to note it */
    uint32_t said_lift; /* when it spoke last: see `faces` */
    bool said_banned;
    uint32_t opened_touch, opened_lives, opened_shed; /* when it connected */
    bool opened_refusing;
};

static struct {
    unsigned open;
    bool stopped, calm;
    uint32_t lives;
    struct {
        unsigned abuse;  /* offences since the last ban */
        uint32_t lifted; /* times that a ban may have ended */
        uint32_t touch;  /* times that it was changed at all */
    } faces[FACES];
    unsigned earned; /* bits: to be banned */
    struct shed_notice notices[SIM_CORES_MAX];
    bool told[SIM_CORES_MAX];
    unsigned told_cores;
    uint8_t shed_level;
    uint32_t shed_number;
} crowd;

/* --- faces -------------------------------------------------------------------------------------
 */

static struct netaddr address_of(unsigned face, uint8_t host)
{
    if (face == PROXY) {
        return (struct netaddr){.family = 4, .bytes = {192, 0, 2, 77}};
    }
    if (face >= FIRST_V6) {
        return (struct netaddr){
            .family = 6,
            .bytes = {0x20, 1, 0x0d, 0xb8, 0, 0, 0, (uint8_t)face, 0, 0, 0, 0, 0, 0, 0, host}};
    }
    return (struct netaddr){.family = 4, .bytes = {198, 51, 100, (uint8_t)(20 + face)}};
}

static struct netmask mask_of(unsigned face)
{
    bool v6 = face >= FIRST_V6 && face != PROXY;
    return (struct netmask){.addr = address_of(face, 0), .bits = v6 ? 64 : 32};
}

/* FACES: none of them. */
static unsigned face_of(const struct netaddr *address)
{
    unsigned face = 0;
    for (; face < FACES; face++) {
        struct netmask mask = mask_of(face);
        if (netmask_contains(&mask, address)) {
            break;
        }
    }
    return face;
}

/* On every core, whatever becomes of a change that is under way. */
static bool ban_in_force(unsigned face)
{
    unsigned blocked = settings_store.now.blocked;
    if (manager_epoch() % 2 != 0) {
        blocked &= settings_store.before.blocked;
    }
    return face != PROXY && (blocked >> face & 1U) != 0;
}

struct netset *crowd_blocked(const struct settings *settings, mx_err *out_err)
{
    struct netset_entry entries[FACES];
    struct netset *set = NULL;
    size_t count = 0;
    for (unsigned face = 0; face < FACES; face++) {
        if ((settings->blocked >> face & 1U) != 0) {
            entries[count++] = (struct netset_entry){.mask = mask_of(face)};
        }
    }
    *out_err = netset_new(&set, entries, count, 1);
    return set;
}

void crowd_offences(struct mbox_msg *msg, struct shard *at)
{
    struct offences *offences = mx_container_of(msg, struct offences, msg);
    const struct offence_batch *batch = offences_sent(offences);
    (void)at;
    for (uint32_t i = 0; i < batch->count; i++) {
        unsigned face = face_of(&batch->notes[i].client);
        if (face == FACES || batch->notes[i].kind != OFFENCE_ABUSE) {
            continue;
        }
        crowd.faces[face].abuse += batch->notes[i].count;
        if (crowd.faces[face].abuse >= ABUSE_MAX) {
            crowd.earned |= 1U << face;
            crowd.faces[face].abuse = 0;
        }
    }
    offences_return(offences);
}

void crowd_mutate(struct settings *settings)
{
    unsigned before = settings->blocked;
    settings->blocked |= crowd.earned;
    crowd.earned = 0;
    for (unsigned i = 1 + (unsigned)sim_below(2); i > 0; i--) {
        settings->blocked ^= 1U << sim_below(FACES);
    }
    for (unsigned face = 0; face < FACES; face++) {
        unsigned was = before >> face & 1U, is = settings->blocked >> face & 1U;
        crowd.faces[face].lifted += was > is;
        crowd.faces[face].touch += was != is;
    }
    settings->generation++;
}

/* --- overload ----------------------------------------------------------------------------------
 */

static void on_shed(struct mbox_msg *msg, struct shard *at)
{
    struct shed_notice *notice = mx_container_of(msg, struct shed_notice, reply);
    (void)at;
    crowd.told[notice - crowd.notices] = false;
}

static bool all_told(void)
{
    for (unsigned i = 0; i < crowd.told_cores; i++) {
        if (crowd.told[i]) {
            return false;
        }
    }
    return true;
}

bool crowd_overload(struct mbox_hub *hub, unsigned cores, bool none)
{
    if (!all_told()) {
        return false;
    }
    if (none && crowd.shed_level == OVERLOAD_NONE) {
        return true;
    }
    uint8_t levels[OVERLOAD_RESOURCES] = {0};
    crowd.shed_level = none ? OVERLOAD_NONE : (uint8_t)sim_below(OVERLOAD_LEVELS);
    levels[sim_below(OVERLOAD_RESOURCES)] = crowd.shed_level;
    crowd.shed_number++;
    crowd.told_cores = cores;
    for (unsigned i = 0; i < cores; i++) {
        struct shed_notice *notice = &crowd.notices[i];
        *notice = (struct shed_notice){
            .msg.receive = shed_notice_receive, .reply.receive = on_shed, .reply_to = cores + 1};
        memcpy(notice->levels, levels, sizeof levels);
        crowd.told[i] = mbox_send(hub, cores + 1, i, &notice->msg) == MX_OK;
    }
    return false;
}

static bool all_refuse(void)
{
    return crowd.calm && crowd.shed_level == OVERLOAD_REFUSING && all_told();
}

/* --- what a guest says -------------------------------------------------------------------------
 */

static void speak(struct guest *g, enum tag tag)
{
    g->tag = tag;
    g->said_banned = ban_in_force(g->face);
    g->said_lift = crowd.faces[g->face].lifted;
}

static void put_v2(struct guest *g, const struct netaddr *client, bool local)
{
    uint8_t header[64] = "\r\n\r\n\0\r\nQUIT\n";
    struct writer w = writer_init(header, sizeof header);
    size_t each = client->family == 6 ? 16 : 4;
    static const uint8_t server[16] = {10, 0, 0, 1};
    static const uint8_t ports[] = {0x10, 0, 9, 0xdd};
    w.len = 12;
    put_char(&w, (char)(local ? 0x20 : 0x21));
    put_char(&w, (char)(client->family == 6 ? 0x21 : 0x11));
    put_char(&w, 0);
    put_char(&w, (char)(2 * each + sizeof ports));
    put_slice(&w, slice_of(client->bytes, each));
    put_slice(&w, slice_of(server, each));
    put_slice(&w, slice_of(ports, sizeof ports));
    if (g->malformed) {
        /* Signature, version, a length that is none. */
        static const uint8_t places[] = {0, 5, 11, 12, 15};
        size_t at = places[sim_below(sizeof places)];
        header[at] = at == 15 ? 3 : header[at] ^ 0xc4;
    }
    bytes_add(&g->peer.out, writer_slice(&w));
    g->peer.poked = true;
}

static void put_v1(struct guest *g, const struct netaddr *client)
{
    static const char *const bad[] = {
        "PROXY TCP4 198.51.100.300 10.0.0.1 4096 2525\r\n",
        "PROXY TCP4 198.51.100.20 10.0.0.1 65536 2525\r\n",
        "PROXY TCP6 198.51.100.20 10.0.0.1 4096 2525\r\n",
        "PROXY TCP4 198.51.100.20 10.0.0.1 4096\r\n",
        "PROXY  TCP4 198.51.100.20 10.0.0.1 4096 2525\r\n",
        "EHLO client.example\r\n",
    };
    char text[NETADDR_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    if (g->malformed) {
        peer_say(&g->peer, "%s", bad[sim_below(mx_countof(bad))]);
        return;
    }
    put_netaddr(&w, client);
    peer_say(&g->peer, "PROXY TCP%u %.*s %s 4096 2525\r\n", client->family, (int)w.len, text,
             client->family == 6 ? "2001:db8::1" : "10.0.0.1");
}

/* Split at any byte: see peer.chunk. */
static void say_header(struct guest *g, const struct netaddr *client)
{
    if (g->face == PROXY) {
        struct netaddr nobody = {.family = 4};
        put_v2(g, &nobody, true);
    } else if (sim_chance(2)) {
        put_v2(g, client, false);
    } else {
        put_v1(g, client);
    }
}

static void quit(struct guest *g)
{
    speak(g, T_QUIT);
    peer_say(&g->peer, "QUIT\r\n");
}

static void say_rcpt(struct guest *g)
{
    speak(g, T_RCPT);
    if (g->mail == NULL) {
        peer_say(&g->peer, "RCPT TO:<nobody%u@local.example>\r\n", g->rcpt);
    } else {
        const struct mail_rcpt *rcpt = &g->mail->rcpts[g->rcpt];
        peer_say(&g->peer, "RCPT TO:<%s>%s\r\n", rcpt->address, oracle_notify(rcpt));
    }
}

static void next_mail(struct guest *g)
{
    if (g->mails == 0 || crowd.stopped) {
        quit(g);
        return;
    }
    g->mails--;
    g->rcpt = g->wanted = 0;
    g->mail = NULL;
    if (!g->abuses) {
        g->mail = oracle_mail((size_t)sim_scale(1, CROWD_MAIL_BYTES));
        memcpy(g->mail->client, g->address, sizeof g->mail->client);
    }
    speak(g, T_MAIL);
    peer_say(&g->peer, "MAIL FROM:<%s>\r\n",
             g->mail == NULL ? "abuse@client.example" : g->mail->sender);
}

static void reset(struct guest *g)
{
    if (g->mail != NULL) {
        g->mail->state = MAIL_REFUSED;
    }
    speak(g, T_RSET);
    peer_say(&g->peer, "RSET\r\n");
}

static void hold(struct guest *g)
{
    g->holds = true;
    g->peer.wake_ns = sim.now_ns + sim_scale(1, HOLD_MS) * MX_NS_PER_MS;
}

/* --- what it is told ---------------------------------------------------------------------------
 */

static void on_rcpt(struct guest *g, unsigned code)
{
    unsigned count = g->mail == NULL ? 1 + g->sessions % 3 : g->mail->rcpt_count;
    if (g->mail == NULL && code / 100 == 2) {
        sim_fail("RCPT to nobody%u was accepted", g->rcpt);
    } else if (g->mail != NULL) {
        oracle_rcpt(g->mail, g->rcpt, code == 250);
    }
    g->wanted += g->mail != NULL && code == 250;
    if (++g->rcpt < count) {
        say_rcpt(g);
    } else if (g->wanted == 0) {
        reset(g);
    } else {
        g->mail->state = MAIL_UNKNOWN;
        speak(g, T_END);
        peer_say(&g->peer, "BDAT %zu LAST\r\n", g->mail->len);
        bytes_add(&g->peer.out, slice_of(g->mail->content, g->mail->len));
    }
}

static void on_reply(struct guest *g, unsigned code)
{
    switch (g->tag) {
    case T_BANNER:
        if (g->opened_refusing && all_refuse() && g->opened_shed == crowd.shed_number) {
            sim_fail("a session began while all cores refuse");
        }
        speak(g, T_EHLO);
        peer_say(&g->peer, "EHLO client.example\r\n");
        break;
    case T_EHLO:
        hold(g);
        break;
    case T_MAIL:
        if (code == 250) {
            say_rcpt(g);
        } else {
            reset(g);
        }
        break;
    case T_RCPT:
        on_rcpt(g, code);
        break;
    case T_END:
        oracle_answered(g->mail, code == 250);
        hold(g);
        break;
    case T_RSET:
        hold(g);
        break;
    case T_QUIT:
    default:
        peer_close(&g->peer, false);
    }
}

static void take_line(struct guest *g, struct slice line)
{
    MX_ASSERT(line.len >= 3);
    unsigned code = (unsigned)(line.ptr[0] - '0') * 100 + (unsigned)(line.ptr[1] - '0') * 10 +
                    (unsigned)(line.ptr[2] - '0');
    g->answered = true;
    if (sim.trace) {
        sim_say("guest %s <- %.*s", g->address, SLICE_ARGS(line));
    }
    if (g->malformed) {
        sim_fail("a malformed PROXY header was answered: %.*s", SLICE_ARGS(line));
    }
    if (g->said_banned && ban_in_force(g->face) && g->said_lift == crowd.faces[g->face].lifted) {
        sim_fail("%s is banned on every core and was told %.*s", g->address, SLICE_ARGS(line));
    }
    if (line.len > 3 && line.ptr[3] == '-') {
        return;
    }
    if (code == 421) {
        peer_close(&g->peer, false);
    } else {
        on_reply(g, code);
    }
}

/* --- life --------------------------------------------------------------------------------------
 */

/* Nothing but a ban, a malformed header, or an end of the process closes without a word. */
static void check_silence(const struct guest *g)
{
    bool may_be_banned =
        ((settings_store.now.blocked | settings_store.before.blocked) >> g->face & 1U) != 0 &&
        g->face != PROXY;
    if (!g->answered && !g->malformed && !sim.faults && !sim.struck && crowd.calm &&
        g->opened_lives == crowd.lives && !may_be_banned &&
        g->opened_touch == crowd.faces[g->face].touch) {
        sim_fail("%s was not answered at all", g->address);
    }
}

static void connect_again(struct guest *g)
{
    bytes_clear(&g->peer.in);
    bytes_clear(&g->peer.out);
    if (g->sessions == 0 || crowd.stopped) {
        g->peer.finished = true;
        crowd.open--;
        return;
    }
    g->behind = sim_chance(2);
    g->face = (unsigned)sim_below(g->behind ? FACES : FIRST_V6);
    struct netaddr client = address_of(g->face, (uint8_t)(1 + sim_below(9)));
    struct netaddr from = address_of(g->behind ? PROXY : g->face, 0);
    struct netaddr to = {.family = 4, .bytes = {10, 0, 0, 1}, .port = g->behind ? 2525 : 25};
    g->peer.sock = net_connect_from(&g->peer, &from, &to);
    if (g->peer.sock == NULL) {
        g->peer.wake_ns = sim.now_ns + PAUSE_MS * MX_NS_PER_MS;
        return;
    }
    struct writer w = writer_init(g->address, sizeof g->address - 1);
    memset(g->address, 0, sizeof g->address);
    put_text(&w, client.family == 6 ? "([IPv6:" : "([");
    put_netaddr(&w, &client);
    put_text(&w, "])");
    MX_ASSERT(!w.overflow);
    g->sessions--;
    g->peer.gone = g->holds = g->answered = false;
    g->peer.chunk = (unsigned)sim_scale(1, 4096);
    g->mail = NULL;
    g->mails = 1 + (unsigned)sim_below(2);
    g->abuses = sim_chance(3);
    g->malformed = g->behind && g->face != PROXY && sim_chance(5);
    g->opened_touch = crowd.faces[g->face].touch;
    g->opened_lives = crowd.lives;
    g->opened_shed = crowd.shed_number;
    g->opened_refusing = all_refuse();
    speak(g, T_BANNER);
    if (g->behind) {
        say_header(g, &client);
    }
}

static void step(struct peer *peer)
{
    struct guest *g = mx_container_of(peer, struct guest, peer);
    struct slice line;
    size_t bytes;
    if (peer->sock == NULL) {
        if (peer->wake_ns == UINT64_MAX) { /* else it was only poked */
            connect_again(g);
        }
        return;
    }
    (void)peer_pump(peer);
    while (peer_line(peer, &line, &bytes)) {
        take_line(g, line);
        bytes_drop(&peer->in, bytes);
    }
    if (peer->gone) {
        check_silence(g);
        g->mail = NULL;
        peer->wake_ns = sim.now_ns + sim_scale(1, PAUSE_MS) * MX_NS_PER_MS;
    } else if (g->holds && peer->wake_ns == UINT64_MAX) { /* its time has come */
        g->holds = false;
        next_mail(g);
    }
}

void crowd_start(unsigned guests)
{
    for (unsigned i = 0; i < guests; i++) {
        struct guest *g = sim_alloc(sizeof *g);
        g->sessions = CROWD_SESSIONS;
        peer_init(&g->peer, step);
        g->peer.poked = false;
        g->peer.wake_ns = sim.now_ns + sim_scale(0, 1000) * MX_NS_PER_MS;
        crowd.open++;
    }
}

bool crowd_done(void)
{
    return crowd.open == 0;
}

void crowd_stop(void)
{
    crowd.stopped = true;
}

void crowd_calm(bool calm)
{
    crowd.calm = calm;
    crowd.lives += calm;
    if (calm) {
        crowd.told_cores = 0;
        crowd.shed_level = OVERLOAD_NONE;
        crowd.shed_number++;
    }
}

void crowd_reset(void)
{
    memset(&crowd, 0, sizeof crowd);
}

/* --- what the cores have -----------------------------------------------------------------------
 */

/* Sessions that hold a place of this client, on all cores. */
static unsigned sessions_of(struct service *(*service)(unsigned core), unsigned cores,
                            unsigned face)
{
    unsigned count = 0;
    for (unsigned i = 0; i < cores; i++) {
        struct list_node *node = list_first(&service(i)->sessions);
        for (; node != NULL; node = list_next(&service(i)->sessions, node)) {
            const struct srv_conn *conn = mx_container_of(node, struct srv_conn, node);
            if (!conn->counted || face_of(&conn->client) != face || srv_proxy_trusted(conn)) {
                continue;
            }
            if (!conn->closing && ban_in_force(face)) {
                sim_fail("core %u has an open session of face %u, which is banned", i, face);
            }
            count++;
        }
    }
    return count;
}

void crowd_check(struct service *(*service)(unsigned core), unsigned cores)
{
    for (unsigned face = 0; face < FACES; face++) {
        unsigned count = sessions_of(service, cores, face);
        if (count > CROWD_LIMIT) {
            sim_fail("face %u has %u sessions, of at most %d", face, count, CROWD_LIMIT);
        }
    }
}
