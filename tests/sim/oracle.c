#include "tests/sim/oracle_inside.h"
#include "tests/sim/oracle_mail.h"

#include "core/check.h"
#include "core/text.h"
#include "smtp/envelope.h"
#include "smtp/record.h"
#include "tests/sim/disk.h"
#include "tests/sim/net.h"
#include "tests/sim/settings.h"
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

enum { DURABLE_ALL = 7, MARK_SLACK_S = 5 };

struct oracle oracle;

/* --- messages ----------------------------------------------------------------------------------
 */

void oracle_reset(const struct oracle_conf *conf)
{
    for (unsigned i = 0; i < oracle.count; i++) {
        sim_free(oracle.mails[i]->content);
        sim_free(oracle.mails[i]);
    }
    memset(&oracle, 0, sizeof oracle);
    oracle.conf = *conf;
}

unsigned oracle_count(void)
{
    return oracle.count;
}

void oracle_rcpt(struct mail *mail, unsigned index, bool good)
{
    for (unsigned i = 0; i < mail->all_count; i++) {
        if (mail->rcpts[i].member_of == index) {
            mail->rcpts[i].wanted = good;
            mail->rcpts[i].refused = !good;
        }
    }
}

struct mail *oracle_mail(size_t bytes)
{
    MX_ASSERT(oracle.count < MAILS_MAX);
    struct mail *mail = sim_alloc(sizeof *mail);
    oracle.mails[oracle.count] = mail;
    mail->id = oracle.count++;
    mail->made_ns = sim.now_ns;
    mail->null_sender = sim_chance(8);
    if (!mail->null_sender) {
        (void)snprintf(mail->sender, sizeof mail->sender, "sim-%u-e@back.example", mail->id);
    } else {
        mail->durable = 1;
    }
    mail_make(mail, bytes, oracle.conf.wide);
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
        mail->accepted_ns = sim.now_ns;
        oracle.accepted++;
        sim_say("message %u accepted", mail->id);
    }
}

/* --- what an administrator does ----------------------------------------------------------------
 */

struct mail *oracle_from(struct slice sender)
{
    unsigned id;
    char text[MAIL_ADDRESS_MAX];
    (void)snprintf(text, sizeof text, "%.*s", SLICE_ARGS(sender));
    return sscanf(text, "sim-%u-e@", &id) == 1 ? oracle_find(id) : NULL;
}

void oracle_asked(struct mail *mail, enum deliver_change_kind kind)
{
    mail->held = mail->held && kind == CHANGE_HOLD;
    mail->cancel_asked = mail->cancel_asked || kind == CHANGE_CANCEL;
    mail->report_asked = mail->report_asked || kind == CHANGE_GIVE_UP;
}

void oracle_changed(struct mail *mail, enum deliver_change_kind kind)
{
    mail->held = mail->held || kind == CHANGE_HOLD;
    mail->ended = mail->ended || kind == CHANGE_CANCEL || kind == CHANGE_GIVE_UP;
    oracle.held += kind == CHANGE_HOLD;
    oracle.ended += kind == CHANGE_CANCEL || kind == CHANGE_GIVE_UP;
}

static void check_changed(const struct mail *mail, const struct copy *copy)
{
    if (mail->held && !copy->orphan) {
        sim_fail("message %u was delivered although it is held", mail->id);
    }
    if (mail->ended && !copy->orphan) {
        sim_fail("message %u was delivered after it was cancelled", mail->id);
    }
}

/* --- what the next hops see --------------------------------------------------------------------
 */

struct mail *oracle_mail_in(struct slice text, const char *prefix)
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
           memmem(added.ptr, added.len, "Subject:", 8) == NULL &&
           memmem(added.ptr, added.len, mail->client, strlen(mail->client)) != NULL;
}

static bool is_member(const struct mail *mail, const struct mail_rcpt *rcpt)
{
    return rcpt >= mail->rcpts + mail->rcpt_count;
}

/* A mark is durable soon, unless the disk was in trouble, or the core stood still. */
static bool is_lost(unsigned life, uint64_t from_ns)
{
    uint64_t trouble_ns = oracle.trouble_ns[life];
    from_ns = trouble_ns > from_ns ? trouble_ns : from_ns;
    return oracle.killed_ns[life] < from_ns + MARK_SLACK_S * MX_NS_PER_S;
}

/* May the program have missed that the last copy was taken? */
bool oracle_may_repeat(const struct copy *last)
{
    if (last->past != NULL && last->past->taken < last->reply_end) {
        return true; /* it never read the answer */
    }
    if (last->life == oracle.life) {
        return false;
    }
    return is_lost(last->life, last->at_ns);
}

bool oracle_may_be_lost(uint64_t from_ns)
{
    return is_lost(oracle.life, from_ns);
}

static void take_copy(struct mail *mail, struct mail_rcpt *rcpt, struct copy copy)
{
    if (rcpt->copies > 0 && !copy.orphan && !oracle.rot && !oracle_may_repeat(&rcpt->last)) {
        sim_fail("message %u was delivered twice to %s (the first copy at %.6f s)", mail->id,
                 rcpt->address, (double)rcpt->last.at_ns / 1e9);
    }
    if (rcpt->copies++ == 0 || !copy.orphan) {
        rcpt->last = copy;
    }
}

unsigned oracle_changes(void)
{
    return oracle.held + oracle.ended;
}

void oracle_notices(uint64_t *delayed, uint64_t *expired)
{
    for (unsigned i = 0; i < oracle.count; i++) {
        const struct mail *mail = oracle.mails[i];
        for (unsigned k = 0; k < mail->all_count; k++) {
            *delayed += mail->rcpts[k].delay_dsns > 0;
            *expired += mail->rcpts[k].expired && mail->rcpts[k].failed_dsns > 0;
        }
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
        report_taken(rcpt, content, copy);
        return;
    }
    struct mail *mail = oracle_mail_in(content, "Subject: sim-");
    struct mail_rcpt *of = mail == NULL ? NULL : mail_rcpt_of(mail, rcpt);
    bool member = of != NULL && is_member(mail, of);
    if (mail == NULL || !same_content(mail, content, member ? "Delivered-To:" : "Received:")) {
        sim_fail("altered content for %.*s: %zu bytes", SLICE_ARGS(rcpt), content.len);
    }
    if (of == NULL || of->refused || !slice_equal(sender, slice_of_text(mail->sender))) {
        sim_fail("message %u was delivered to %.*s from %.*s", mail->id, SLICE_ARGS(rcpt),
                 SLICE_ARGS(sender));
    }
    if (mail->state == MAIL_REFUSED || mail->state == MAIL_UNSENT) {
        sim_fail("message %u was delivered although it was refused", mail->id);
    }
    sim_say("message %u taken for %s", mail->id, of->address);
    check_changed(mail, &copy);
    times_check_late(mail, of);
    if (!copy.orphan) {
        notices_check_wait(mail, of, false);
    }
    take_copy(mail, of, copy);
}

/* By its own address, or by the sender of what went to a list. */
static struct mail_rcpt *rejected_rcpt(struct slice sender, struct slice rcpt)
{
    unsigned id, i;
    char text[MAIL_ADDRESS_MAX];
    (void)snprintf(text, sizeof text, "%.*s", SLICE_ARGS(rcpt));
    struct mail *mail =
        sscanf(text, "r%u-%u@", &id, &i) == 2 ? oracle_find(id) : oracle_mail_in(sender, "sim-");
    return mail == NULL ? NULL : mail_rcpt_of(mail, rcpt);
}

bool oracle_may_reject(struct slice sender, struct slice rcpt)
{
    return rejected_rcpt(sender, rcpt) != NULL;
}

void oracle_rejected(struct slice sender, struct slice rcpt)
{
    struct mail_rcpt *of = rejected_rcpt(sender, rcpt);
    if (of == NULL) {
        sim_fail("a next hop was offered %.*s", SLICE_ARGS(rcpt));
    }
    of->rejected++;
}

bool oracle_offered(struct slice rcpt, const struct sock *from)
{
    unsigned id, i;
    char text[MAIL_ADDRESS_MAX];
    (void)snprintf(text, sizeof text, "%.*s", SLICE_ARGS(rcpt));
    struct mail *mail = sscanf(text, "r%u-%u@", &id, &i) == 2 ? oracle_find(id) : NULL;
    struct mail_rcpt *of = mail == NULL ? NULL : mail_rcpt_of(mail, rcpt);
    if (of == NULL || from->other == NULL) {
        return false; /* what an earlier process has left on its way asks for nothing */
    }
    times_check_turn(mail, of);
    notices_check_wait(mail, of, true);
    bool off = times_puts_off(of);
    of->offers += off;
    of->offered_ns = sim.now_ns;
    of->offered_life = oracle.life;
    return off;
}

void oracle_rejected_all(struct slice sender, const char *domain)
{
    struct mail *mail = oracle_mail_in(sender, "sim-");
    MX_ASSERT(mail != NULL);
    for (unsigned i = 0; i < mail->all_count; i++) {
        const char *address = mail->rcpts[i].address;
        mail->rcpts[i].rejected += strcmp(strchr(address, '@'), domain) == 0;
    }
}

void oracle_killed(void)
{
    MX_ASSERT(oracle.life + 1 < mx_countof(oracle.killed_ns));
    oracle.trouble_ns[oracle.life] = sim.trouble_ns;
    oracle.killed_ns[oracle.life] = sim.now_ns;
    notices_killed();
    oracle.life++;
}

void oracle_rot(bool lost)
{
    oracle.rot = true;
    oracle.rot_lost = oracle.rot_lost || lost;
}

bool oracle_rot_lost(void)
{
    return oracle.rot_lost;
}

bool oracle_rotten(void)
{
    return oracle.rot;
}

/* --- the end -----------------------------------------------------------------------------------
 */

static uint64_t place_of(const char *name)
{
    uint64_t hash = 0;
    for (const char *end = strrchr(name, '/'); name < end; name++) {
        hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* A repetition finds its own file, so there is never a second one, unless the address got another
 * mailbox between the move of the first and the mark of it. */
static void place_add(struct mail *mail, struct mail_rcpt *of, uint64_t place)
{
    unsigned named = 0, i = 0;
    for (unsigned k = 0; k < mail->all_count; k++) {
        named += !mail->rcpts[k].refused && strcmp(mail->rcpts[k].address, of->address) == 0;
    }
    while (i < MAIL_PLACES_MAX && of->places[i].count > 0 && of->places[i].where != place) {
        i++;
    }
    MX_ASSERT(i < MAIL_PLACES_MAX);
    of->places[i].where = place;
    of->copies++;
    /* A list whose mark has rotted is expanded once more. */
    if (of->places[i].count++ >= named &&
        !(oracle.rot && mail_names_list(mail, mail->rcpt_count))) {
        sim_fail("message %u is in the mailbox of %s twice", mail->id, of->address);
    }
}

static void each_mailbox_file(void *arg, const char *name, const uint8_t *bytes, size_t len)
{
    (void)arg;
    if (strstr(name, "/new/") == NULL && strstr(name, "/cur/") == NULL) {
        return;
    }
    struct slice content = slice_of(bytes, len);
    struct mail *mail = oracle_mail_in(content, "Subject: sim-");
    if (mail == NULL || !same_content(mail, content, "Return-Path: <")) {
        sim_fail("altered content in %s: %zu bytes", name, len);
    }
    const uint8_t *to = memmem(bytes, len, "Delivered-To: ", 14);
    if (to == NULL) {
        sim_fail("no Delivered-To in %s", name);
    }
    struct slice rcpt = slice_from(content, (size_t)(to - bytes) + 14);
    rcpt = slice_first(rcpt, slice_find(rcpt, '\r'));
    struct mail_rcpt *of = mail_rcpt_of(mail, rcpt);
    if (of == NULL || of->refused) {
        sim_fail("message %u is in %s, for %.*s", mail->id, name, SLICE_ARGS(rcpt));
    }
    if (mail->state == MAIL_REFUSED || mail->state == MAIL_UNSENT) {
        sim_fail("message %u is in a mailbox although it was refused", mail->id);
    }
    place_add(mail, of, place_of(name));
}

static bool must_have(const struct mail_rcpt *rcpt)
{
    unsigned user;
    bool always = sscanf(rcpt->address, "user%u@", &user) == 1 &&
                  (settings_store.news_always >> user & 1U) != 0;
    return rcpt->wanted && !rcpt->is_list && (!rcpt->optional || always);
}

/* The same person may be named, and be a member of lists. */
static unsigned copies_due(struct mail *mail, const char *address)
{
    unsigned count = 0;
    for (unsigned i = 0; i < mail->all_count; i++) {
        count += must_have(&mail->rcpts[i]) && strcmp(mail->rcpts[i].address, address) == 0;
    }
    return count;
}

static void judge(struct mail *mail)
{
    for (unsigned i = 0; i < mail->all_count; i++) {
        const struct mail_rcpt *rcpt = mail_rcpt_of(mail, slice_of_text(mail->rcpts[i].address));
        unsigned due = copies_due(mail, rcpt->address);
        bool may_fail = rcpt->rejected > 0 || rcpt->may_go || rcpt->expired || mail->cancel_asked ||
                        mail->report_asked;
        unsigned told = rcpt->failed_dsns + rcpt->failed_lost + rcpt->given_up;
        bool settled = mail->cancel_asked || rcpt->copies + told >= due;
        if (rcpt->copies < due && !(may_fail && settled)) {
            sim_fail("message %u was answered 250 and is lost for %s (%u of %u copies, rejected "
                     "%u, DSNs %u, of them %u given up; %u times failed in silence)",
                     mail->id, rcpt->address, rcpt->copies, due, rcpt->rejected,
                     rcpt->failed_dsns + rcpt->failed_lost, rcpt->failed_lost, rcpt->given_up);
        }
        /* A copy whose answer was lost may end as a failure. */
        if (mail_wants(rcpt, NOTIFY_SUCCESS) && !mail->null_sender && !mail->cancel_asked &&
            rcpt->copies > 0 && rcpt->success_dsns + rcpt->success_lost + told == 0) {
            sim_fail("message %u was delivered to %s, and its sender was not told", mail->id,
                     rcpt->address);
        }
    }
}

void oracle_judge(void)
{
    disk_each("/ringmx/mail", each_mailbox_file, NULL);
    for (unsigned i = 0; i < oracle.count; i++) {
        /* A rotten record is lost, and an outcome that is lost is a repetition; what is never
         * allowed is that rotten content is delivered. */
        if (oracle.mails[i]->state == MAIL_ACCEPTED && !oracle.rot_lost) {
            judge(oracle.mails[i]);
            notices_judge(oracle.mails[i]);
        }
    }
}
