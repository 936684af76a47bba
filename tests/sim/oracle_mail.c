/* What the messages of the simulation are: content, recipients, and what is asked for each. */
#include "tests/sim/oracle_mail.h"
#include "core/check.h"
#include "smtp/envelope.h"
#include "smtp/record.h"
#include "tests/sim/sim.h"

#include <stdio.h>

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

static void rcpt_relayed(struct mail_rcpt *rcpt, unsigned id, unsigned i, const char *domain)
{
    (void)snprintf(rcpt->address, sizeof rcpt->address, "r%u-%u@%s", id, i, domain);
}

static void rcpt_make(struct mail_rcpt *rcpt, unsigned id, unsigned i)
{
    static const char *const domains[] = {"source.example", "lmtp.example", "nowhere.example"};
    unsigned kind = (unsigned)sim_below(16);
    if (kind < 6) {
        (void)snprintf(rcpt->address, sizeof rcpt->address, "user%u%s@local.example", (id + i) % 4,
                       kind == 0 ? "+tag" : "");
    } else {
        rcpt_relayed(rcpt, id, i, domains[kind < 11 ? 0 : kind < 15 ? 1 : 2]);
    }
}

/* An address that the configuration has to do with. */
static void rcpt_make_wide(struct mail_rcpt *rcpt)
{
    static const char *const addresses[] = {
        "extra0@local.example", "extra1@local.example",    "extra2@local.example",
        "alias@local.example",  "someone@extra.example",   "other@extra.example",
        "someone@also.example", "someone@renamed.example", "team@local.example",
        "team@local.example",   "news@local.example",      "inner@local.example"};
    const char *address = addresses[sim_below(mx_countof(addresses))];
    (void)snprintf(rcpt->address, sizeof rcpt->address, "%s", address);
    rcpt->is_list = address[0] == 't' || address[0] == 'n' || address[0] == 'i';
    rcpt->may_go = address[0] == 'e' || strchr(address, '@')[1] != 'l';
}

struct mail_rcpt *mail_rcpt_of(struct mail *mail, struct slice address)
{
    for (unsigned i = 0; i < mail->all_count; i++) {
        if (slice_equal(slice_of_text(mail->rcpts[i].address), address)) {
            return &mail->rcpts[i];
        }
    }
    return NULL;
}

/* Lists in lists are resolved; a list that is named twice is expanded twice, which makes the count
 * of copies nobody's promise: it is not named twice. */
static void members_add(struct mail *mail, unsigned of, const char *list)
{
    static const char *const team[] = {"user1@local.example", "m1@source.example",
                                       "m2@lmtp.example", "user2@local.example",
                                       "m3@source.example"};
    static const char *const news[] = {"user0@local.example", "user1@local.example",
                                       "user2@local.example", "user3@local.example"};
    bool is_news = list[0] == 'n';
    for (unsigned i = list[0] == 'i' ? 3 : 0; i < (is_news ? 4U : 5U); i++) {
        MX_ASSERT(mail->all_count < mx_countof(mail->rcpts));
        struct mail_rcpt *member = &mail->rcpts[mail->all_count++];
        (void)snprintf(member->address, sizeof member->address, "%s", is_news ? news[i] : team[i]);
        member->member_of = of;
        member->optional = is_news;
    }
}

bool mail_names_list(const struct mail *mail, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (mail->rcpts[i].is_list) {
            return true;
        }
    }
    return false;
}

static void rcpts_make(struct mail *mail, bool wide)
{
    mail->rcpt_count = 1 + (unsigned)(sim_chance(2) ? 0 : sim_below(MAIL_RCPTS_MAX));
    for (unsigned i = 0; i < mail->rcpt_count; i++) {
        struct mail_rcpt *rcpt = &mail->rcpts[i];
        rcpt_make(rcpt, mail->id, i);
        if (!wide || sim_chance(2)) {
            continue;
        }
        mail->all_count = i;
        struct mail_rcpt other = {.copies = 0};
        rcpt_make_wide(&other);
        bool again = mail_rcpt_of(mail, slice_of_text(other.address)) != NULL ||
                     (other.is_list && mail_names_list(mail, i));
        *rcpt = again ? *rcpt : other;
    }
    mail->all_count = mail->rcpt_count;
    for (unsigned i = 0; i < mail->rcpt_count; i++) {
        mail->rcpts[i].member_of = i;
        if (mail->rcpts[i].is_list) {
            members_add(mail, i, mail->rcpts[i].address);
        }
    }
}

/* Somebody who is named and is a member of a named list as well gets two copies, and a report about
 * each. */
unsigned mail_times_named(const struct mail *mail, const struct mail_rcpt *of)
{
    unsigned count = 0;
    for (unsigned i = 0; i < mail->all_count; i++) {
        count += strcmp(mail->rcpts[i].address, of->address) == 0;
    }
    return count;
}

/* Of whom is named once: else a report would not tell about which of both it is. */
static void notify_make(struct mail *mail)
{
    static const uint8_t wishes[] = {NOTIFY_NEVER, NOTIFY_FAILURE, NOTIFY_SUCCESS | NOTIFY_FAILURE,
                                     NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY};
    for (unsigned i = 0; i < mail->rcpt_count; i++) {
        struct mail_rcpt *rcpt = &mail->rcpts[i];
        if (sim_chance(2) && !rcpt->is_list && mail_times_named(mail, rcpt) == 1) {
            rcpt->notify = wishes[sim_below(mx_countof(wishes))];
        }
    }
}

const char *oracle_notify(const struct mail_rcpt *rcpt)
{
    return rcpt->notify == NOTIFY_NEVER                        ? " NOTIFY=NEVER"
           : rcpt->notify == NOTIFY_FAILURE                    ? " NOTIFY=FAILURE"
           : rcpt->notify == (NOTIFY_SUCCESS | NOTIFY_FAILURE) ? " NOTIFY=SUCCESS,FAILURE"
           : rcpt->notify == (NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY)
               ? " NOTIFY=SUCCESS,DELAY,FAILURE"
               : "";
}

bool mail_wants(const struct mail_rcpt *rcpt, uint8_t what)
{
    uint8_t notify = rcpt->notify == NOTIFY_UNSET ? NOTIFY_FAILURE | NOTIFY_DELAY : rcpt->notify;
    return (notify & what) != 0;
}

void mail_make(struct mail *mail, size_t bytes, bool wide)
{
    rcpts_make(mail, wide);
    notify_make(mail);
    content_make(mail, bytes);
}
