#include "tests/sim/oracle.h"

#include "core/check.h"
#include "core/text.h"
#include "smtp/record.h"
#include "tests/sim/disk.h"
#include "tests/sim/net.h"
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAILS_MAX = 4096, DURABLE_ALL = 7, MARK_SLACK_S = 5 };

static struct {
    struct mail *mails[MAILS_MAX];
    unsigned count;
    unsigned life;
    uint64_t killed_ns[64], trouble_ns[64]; /* per life */
    bool rot;
    unsigned accepted, delivered, bounced;
} oracle;

/* --- messages ----------------------------------------------------------------------------------
 */

void oracle_reset(void)
{
    for (unsigned i = 0; i < oracle.count; i++) {
        sim_free(oracle.mails[i]->content);
        sim_free(oracle.mails[i]);
    }
    memset(&oracle, 0, sizeof oracle);
}

unsigned oracle_count(void)
{
    return oracle.count;
}

/* Lines of text, some of which begin with a dot, that differ from message to message. */
static void content_make(struct mail *mail, size_t bytes)
{
    mail->content = sim_alloc(bytes + 512);
    int len = snprintf((char *)mail->content, 256, "Subject: sim-%u-s\r\n\r\n", mail->id);
    mail->len = (size_t)len;
    for (unsigned n = 0; mail->len < bytes; n++) {
        /* A line: perhaps a dot, a letter and the number, and some filling. */
        uint8_t *at = mail->content + mail->len;
        size_t fill = 8 + n * 31 % 60;
        memset(at, '.', 1);
        at += n % 7 == 3;
        memset(at, (int)('a' + (n + mail->id) % 26), fill);
        for (unsigned k = 0, left = n; k < 6; k++, left /= 10) {
            at[k] = (uint8_t)('0' + left % 10);
        }
        memcpy(at + fill, "\r\n", 2);
        mail->len += fill + 2 + (n % 7 == 3);
    }
    /* The mark at the end is looked for in one write: it may not lie across two records. */
    size_t left = EXTENT_BYTES - mail->len % EXTENT_BYTES;
    if (left < 32) {
        memset(mail->content + mail->len, 'x', left);
        memcpy(mail->content + mail->len + left, "\r\n", 2);
        mail->len += left + 2;
    }
    len = snprintf((char *)mail->content + mail->len, 64, "sim-%u-f\r\n", mail->id);
    mail->len += (size_t)len;
}

static void rcpt_make(struct mail_rcpt *rcpt, unsigned id, unsigned i)
{
    static const char *const domains[] = {"local.example", "source.example", "lmtp.example",
                                          "nowhere.example"};
    unsigned kind = (unsigned)sim_below(16);
    const char *domain = domains[kind < 6 ? 0 : kind < 11 ? 1 : kind < 15 ? 2 : 3];
    const char *tag = kind == 0 ? "+tag" : "";
    if (kind < 6) {
        (void)snprintf(rcpt->address, sizeof rcpt->address, "user%u%s@%s", (id + i) % 4, tag,
                       domain);
    } else {
        (void)snprintf(rcpt->address, sizeof rcpt->address, "r%u-%u@%s", id, i, domain);
    }
}

struct mail *oracle_mail(size_t bytes)
{
    MX_ASSERT(oracle.count < MAILS_MAX);
    struct mail *mail = sim_alloc(sizeof *mail);
    oracle.mails[oracle.count] = mail;
    mail->id = oracle.count++;
    mail->null_sender = sim_chance(8);
    if (!mail->null_sender) {
        (void)snprintf(mail->sender, sizeof mail->sender, "sim-%u-e@back.example", mail->id);
    } else {
        mail->durable = 1;
    }
    mail->rcpt_count = 1 + (unsigned)(sim_chance(2) ? 0 : sim_below(MAIL_RCPTS_MAX));
    for (unsigned i = 0; i < mail->rcpt_count; i++) {
        rcpt_make(&mail->rcpts[i], mail->id, i);
    }
    content_make(mail, bytes);
    return mail;
}

struct mail *oracle_find(unsigned id)
{
    return id < oracle.count ? oracle.mails[id] : NULL;
}

/* --- what the disk and the clients see ---------------------------------------------------------
 */

void oracle_durable(struct slice bytes)
{
    while (bytes.len > 8) {
        const uint8_t *at = memmem(bytes.ptr, bytes.len, "sim-", 4);
        if (at == NULL) {
            return;
        }
        bytes = slice_from(bytes, (size_t)(at - bytes.ptr) + 4);
        unsigned id = 0;
        size_t i = 0;
        for (; i < bytes.len && ascii_is_digit(bytes.ptr[i]); i++) {
            id = id * 10 + (unsigned)(bytes.ptr[i] - '0');
        }
        struct mail *mail = i > 0 && i + 1 < bytes.len ? oracle_find(id) : NULL;
        if (mail != NULL) {
            uint8_t part = bytes.ptr[i + 1];
            mail->durable |= part == 'e' ? 1U : part == 's' ? 2U : part == 'f' ? 4U : 0U;
        }
    }
}

void oracle_answered(struct mail *mail, bool accepted)
{
    /* A failed write may have reached the disk all the same. */
    mail->state = accepted ? MAIL_ACCEPTED : sim.disk_trouble ? MAIL_UNKNOWN : MAIL_REFUSED;
    if (accepted && mail->durable != DURABLE_ALL) {
        sim_fail("message %u was answered 250 before its sync completed (%u)", mail->id,
                 mail->durable);
    }
    if (accepted) {
        oracle.accepted++;
        sim_say("message %u accepted", mail->id);
    }
}

/* --- what the next hops see --------------------------------------------------------------------
 */

static struct mail_rcpt *rcpt_of(struct mail *mail, struct slice address)
{
    for (unsigned i = 0; i < mail->rcpt_count; i++) {
        if (slice_equal(slice_of_text(mail->rcpts[i].address), address)) {
            return &mail->rcpts[i];
        }
    }
    return NULL;
}

static struct mail *mail_in(struct slice text, const char *prefix)
{
    const uint8_t *at = memmem(text.ptr, text.len, prefix, strlen(prefix));
    if (at == NULL) {
        return NULL;
    }
    return oracle_find((unsigned)strtoul((const char *)at + strlen(prefix), NULL, 10));
}

/* Headers that ringmx adds stand in front; everything else is as it was sent. */
static bool same_content(const struct mail *mail, struct slice content, const char *first)
{
    if (content.len < mail->len ||
        memcmp(content.ptr + content.len - mail->len, mail->content, mail->len) != 0) {
        return false;
    }
    struct slice added = slice_first(content, content.len - mail->len);
    return added.len > strlen(first) && memcmp(added.ptr, first, strlen(first)) == 0 &&
           memmem(added.ptr, added.len, "\r\n\r\n", 4) == NULL &&
           memcmp(added.ptr + added.len - 2, "\r\n", 2) == 0 &&
           memmem(added.ptr, added.len, "Subject:", 8) == NULL;
}

/* May the program have missed that the last copy was taken? */
static bool may_repeat(const struct copy *last)
{
    if (last->past != NULL && last->past->taken < last->reply_end) {
        return true; /* it never read the answer */
    }
    if (last->life == oracle.life) {
        return false;
    }
    /* A mark is durable soon, unless the disk was in trouble. */
    uint64_t from_ns = oracle.trouble_ns[last->life];
    from_ns = from_ns > last->at_ns ? from_ns : last->at_ns;
    return oracle.killed_ns[last->life] < from_ns + MARK_SLACK_S * MX_NS_PER_S;
}

static void take_copy(struct mail *mail, struct mail_rcpt *rcpt, struct copy copy)
{
    if (rcpt->copies > 0 && !copy.orphan && !oracle.rot && !may_repeat(&rcpt->last)) {
        sim_fail("message %u was delivered twice to %s (the first copy at %.6f s)", mail->id,
                 rcpt->address, (double)rcpt->last.at_ns / 1e9);
    }
    if (rcpt->copies++ == 0 || !copy.orphan) {
        rcpt->last = copy;
    }
}

/* A DSN: whom it is about and what it says. */
static void take_dsn(struct slice rcpt, struct slice content, struct copy copy)
{
    struct mail *mail = mail_in(rcpt, "sim-");
    if (mail == NULL || mail->null_sender) {
        sim_fail("a DSN to %.*s, who sent nothing", SLICE_ARGS(rcpt));
    }
    static const char final[] = "Final-Recipient: rfc822;";
    unsigned about = 0;
    struct slice left = content;
    for (;;) {
        const uint8_t *at = memmem(left.ptr, left.len, final, strlen(final));
        if (at == NULL) {
            break;
        }
        left = slice_from(left, (size_t)(at - left.ptr) + strlen(final));
        struct slice address = slice_first(left, slice_find(left, '\r'));
        while (address.len > 0 && address.ptr[0] == ' ') {
            address = slice_from(address, 1);
        }
        struct mail_rcpt *of = rcpt_of(mail, address);
        const uint8_t *action = memmem(left.ptr, left.len, "Action: ", 8);
        if (of == NULL || action == NULL) {
            sim_fail("a DSN about %.*s, whom message %u did not name", SLICE_ARGS(address),
                     mail->id);
        }
        about++;
        if (action[8] == 'f') {
            if (of->failed_dsns > 0 && !copy.orphan && !oracle.rot && !may_repeat(&of->dsn)) {
                sim_fail("two failure DSNs about %s and message %u", of->address, mail->id);
            }
            of->failed_dsns++;
            of->dsn = copy;
            if (of->rejected == 0 && of->copies > 0 && !oracle.rot) {
                sim_fail("a failure DSN about %s, who has message %u", of->address, mail->id);
            }
        } else if (action[8] == 'd' && action[10] == 'l' && action[11] == 'a') {
            of->delay_dsns++;
        }
    }
    if (about == 0) {
        sim_fail("a DSN about nobody");
    }
}

void oracle_delivered(struct slice sender, struct slice rcpt, struct slice content,
                      const struct sock *from, uint64_t reply_end)
{
    struct copy copy = {.past = from->past,
                        .orphan = from->other == NULL,
                        .reply_end = reply_end,
                        .at_ns = sim.now_ns,
                        .life = oracle.life};
    if (sender.len == 0 && memmem(content.ptr, content.len, "multipart/report", 16) != NULL) {
        sim_say("a DSN for %.*s", SLICE_ARGS(rcpt));
        take_dsn(rcpt, content, copy);
        return;
    }
    struct mail *mail = mail_in(content, "Subject: sim-");
    if (mail == NULL || !same_content(mail, content, "Received:")) {
        sim_fail("altered content for %.*s: %zu bytes", SLICE_ARGS(rcpt), content.len);
    }
    struct mail_rcpt *of = rcpt_of(mail, rcpt);
    if (of == NULL || of->refused || !slice_equal(sender, slice_of_text(mail->sender))) {
        sim_fail("message %u was delivered to %.*s from %.*s", mail->id, SLICE_ARGS(rcpt),
                 SLICE_ARGS(sender));
    }
    if (mail->state == MAIL_REFUSED || mail->state == MAIL_UNSENT) {
        sim_fail("message %u was delivered although it was refused", mail->id);
    }
    sim_say("message %u taken for %s", mail->id, of->address);
    take_copy(mail, of, copy);
}

void oracle_rejected(struct slice rcpt)
{
    unsigned id, i;
    char text[MAIL_ADDRESS_MAX];
    (void)snprintf(text, sizeof text, "%.*s", SLICE_ARGS(rcpt));
    if (sscanf(text, "r%u-%u@", &id, &i) != 2 || oracle_find(id) == NULL) {
        sim_fail("a next hop was offered %s", text);
    }
    oracle_find(id)->rcpts[i].rejected++;
}

void oracle_rejected_all(struct slice sender, const char *domain)
{
    struct mail *mail = mail_in(sender, "sim-");
    MX_ASSERT(mail != NULL);
    for (unsigned i = 0; i < mail->rcpt_count; i++) {
        const char *address = mail->rcpts[i].address;
        mail->rcpts[i].rejected += strcmp(strchr(address, '@'), domain) == 0;
    }
}

void oracle_killed(void)
{
    MX_ASSERT(oracle.life + 1 < mx_countof(oracle.killed_ns));
    oracle.trouble_ns[oracle.life] = sim.trouble_ns;
    oracle.killed_ns[oracle.life++] = sim.now_ns;
}

void oracle_rot(void)
{
    oracle.rot = true;
}

bool oracle_rotten(void)
{
    return oracle.rot;
}

/* --- the end -----------------------------------------------------------------------------------
 */

static void each_mailbox_file(void *arg, const char *name, const uint8_t *bytes, size_t len)
{
    (void)arg;
    if (strstr(name, "/new/") == NULL && strstr(name, "/cur/") == NULL) {
        return;
    }
    struct slice content = slice_of(bytes, len);
    struct mail *mail = mail_in(content, "Subject: sim-");
    if (mail == NULL || !same_content(mail, content, "Return-Path: <")) {
        sim_fail("altered content in %s: %zu bytes", name, len);
    }
    const uint8_t *to = memmem(bytes, len, "Delivered-To: ", 14);
    if (to == NULL) {
        sim_fail("no Delivered-To in %s", name);
    }
    struct slice rcpt = slice_from(content, (size_t)(to - bytes) + 14);
    rcpt = slice_first(rcpt, slice_find(rcpt, '\r'));
    struct mail_rcpt *of = rcpt_of(mail, rcpt);
    if (of == NULL || of->refused) {
        sim_fail("message %u is in %s, for %.*s", mail->id, name, SLICE_ARGS(rcpt));
    }
    if (mail->state == MAIL_REFUSED || mail->state == MAIL_UNSENT) {
        sim_fail("message %u is in a mailbox although it was refused", mail->id);
    }
    /* A repetition finds its own file, so there is never a second one, unless the server got
     * another name between the first and the second (maildir(5): it is part of the file's). The
     * same recipient may be named twice. */
    unsigned named = 0, host = strstr(name, ".mx2.example") != NULL;
    for (unsigned i = 0; i < mail->rcpt_count; i++) {
        named += !mail->rcpts[i].refused && strcmp(mail->rcpts[i].address, of->address) == 0;
    }
    of->copies++;
    if (of->files[host]++ >= named) {
        sim_fail("message %u is in the mailbox of %s twice", mail->id, of->address);
    }
}

static void judge(const struct mail *mail)
{
    for (unsigned i = 0; i < mail->rcpt_count; i++) {
        const struct mail_rcpt *rcpt = &mail->rcpts[i];
        if (!rcpt->wanted) {
            continue;
        }
        bool reported = rcpt->rejected > 0 && (mail->null_sender || rcpt->failed_dsns > 0);
        if (rcpt->copies == 0 && !reported) {
            sim_fail("message %u was answered 250 and is lost for %s (rejected %u, DSNs %u)",
                     mail->id, rcpt->address, rcpt->rejected, rcpt->failed_dsns);
        }
    }
}

void oracle_judge(void)
{
    disk_each("/ringmx/mail", each_mailbox_file, NULL);
    for (unsigned i = 0; i < oracle.count; i++) {
        /* A rotten record is lost, and an outcome that is lost is a repetition; what is never
         * allowed is that rotten content is delivered. */
        if (oracle.mails[i]->state == MAIL_ACCEPTED && !oracle.rot) {
            judge(oracle.mails[i]);
        }
    }
}
