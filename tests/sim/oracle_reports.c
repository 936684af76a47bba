/* What senders are told, and what ends without a word: a report that is given up itself, mail of
 * the null sender, mail whose sender does not want to know. */
#include "core/check.h"
#include "core/hash.h"
#include "smtp/bounce.h"
#include "smtp/content.h"
#include "tests/sim/oracle_inside.h"
#include "tests/sim/oracle_mail.h"
#include "tests/sim/sim.h"

/* --- what a report says ------------------------------------------------------------------------
 */

static void check_failed(const struct mail *mail, const struct mail_rcpt *of, const char *what)
{
    if (of->rejected == 0 && !of->expired && !of->may_go && !mail->report_asked && !oracle.rot) {
        sim_fail("%s %s and message %u, for nothing", what, of->address, mail->id);
    }
}

static void take_failed(const struct mail *mail, struct mail_rcpt *of, const struct copy *copy)
{
    if (of->failed_dsns >= mail_times_named(mail, of) && !copy->orphan && !oracle.rot &&
        !oracle_may_repeat(&of->dsn)) {
        sim_fail("two failure DSNs about %s and message %u", of->address, mail->id);
    }
    if (!mail_wants(of, NOTIFY_FAILURE)) {
        sim_fail("a failure DSN about %s and message %u, against its wish", of->address, mail->id);
    }
    of->failed_dsns++;
    of->dsn = *copy;
    of->expired = of->expired || times_expired(mail, of);
    check_failed(mail, of, "a failure DSN about");
    bool known = of->copies > 0 && !oracle_may_repeat(&of->last);
    if (of->rejected == 0 && known && !of->may_go && !oracle.rot) {
        sim_fail("a failure DSN about %s, who has message %u", of->address, mail->id);
    }
}

/* Of this report, or where the first copy of one goes; NULL: there are too many. */
static struct copy *delay_copy(struct mail_rcpt *of, uint64_t report)
{
    for (unsigned i = 0; i < mx_countof(of->delays); i++) {
        if (i == of->delay_dsns || of->delays[i].report == report) {
            return &of->delays[i];
        }
    }
    return NULL;
}

static void take_delayed(const struct mail *mail, struct mail_rcpt *of, const struct copy *copy)
{
    unsigned due = 0, named = mail_times_named(mail, of);
    while (times_delayed(mail, of, due)) {
        due++;
    }
    if (due == 0) {
        sim_fail("a delay DSN about %s and message %u too early", of->address, mail->id);
    }
    if (!mail_wants(of, NOTIFY_DELAY)) {
        sim_fail("a delay DSN about %s and message %u, against its wish", of->address, mail->id);
    }
    struct copy *last = delay_copy(of, copy->report);
    bool is_new = last == NULL || last == &of->delays[of->delay_dsns];
    if (is_new && (last == NULL || of->delay_dsns >= due * named) && !oracle.rot) {
        sim_fail("%u delay DSNs about %s and message %u, of %u that are due", of->delay_dsns + 1,
                 of->address, mail->id, due * named);
    }
    /* Somebody who is named twice may be in there twice. */
    bool again = !is_new && !(last->at_ns == copy->at_ns && named > 1);
    if (again && !copy->orphan && !oracle.rot && !oracle_may_repeat(last)) {
        sim_fail("a delay DSN about %s and message %u came twice", of->address, mail->id);
    }
    of->notices.taken += is_new;
    of->delay_dsns += is_new && last != NULL;
    if (last != NULL && (is_new || !copy->orphan)) {
        *last = *copy;
    }
}

static void take_success(const struct mail *mail, struct mail_rcpt *of, const struct copy *copy)
{
    if (!mail_wants(of, NOTIFY_SUCCESS) && !of->is_list) {
        sim_fail("a DSN of success about %s and message %u, against its wish", of->address,
                 mail->id);
    }
    if (of->success_dsns > 0 && !copy->orphan && !oracle.rot &&
        !oracle_may_repeat(&of->success_dsn)) {
        sim_fail("two DSNs of success about %s and message %u", of->address, mail->id);
    }
    of->success_dsns++;
    of->success_dsn = *copy;
}

/* The report will never be seen. */
static void lose_failed(const struct mail *mail, struct mail_rcpt *of, const struct copy *copy)
{
    (void)copy;
    of->failed_lost++;
    of->expired = of->expired || times_expired(mail, of);
    check_failed(mail, of, "a failure DSN, itself given up, about");
}

static void lose_delayed(const struct mail *mail, struct mail_rcpt *of, const struct copy *copy)
{
    (void)mail;
    (void)copy;
    of->notices.lost++;
}

static void lose_success(const struct mail *mail, struct mail_rcpt *of, const struct copy *copy)
{
    (void)mail;
    (void)copy;
    of->success_lost++;
}

typedef void take_fn(const struct mail *mail, struct mail_rcpt *of, const struct copy *copy);
struct takers {
    take_fn *failed, *delayed, *success;
};
static const struct takers taken = {take_failed, take_delayed, take_success};
static const struct takers lost = {lose_failed, lose_delayed, lose_success};

/* For everybody whom the report is about. */
static void each_about(struct mail *mail, struct slice content, const struct takers *takers,
                       const struct copy *copy)
{
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
        struct mail_rcpt *of = mail_rcpt_of(mail, address);
        const uint8_t *action = memmem(left.ptr, left.len, "Action: ", 8);
        if (of == NULL || action == NULL) {
            sim_fail("a DSN about %.*s, whom message %u did not name", SLICE_ARGS(address),
                     mail->id);
        }
        about++;
        if (action[8] == 'f') {
            takers->failed(mail, of, copy);
        } else if (action[8] == 'd' && action[10] == 'l' && action[11] == 'a') {
            takers->delayed(mail, of, copy);
        } else {
            takers->success(mail, of, copy);
        }
    }
    if (about == 0) {
        sim_fail("a DSN about nobody");
    }
}

static struct mail *reported_mail(struct slice rcpt)
{
    struct mail *mail = oracle_mail_in(rcpt, "sim-");
    if (mail == NULL || mail->null_sender) {
        sim_fail("a DSN to %.*s, who sent nothing", SLICE_ARGS(rcpt));
    }
    return mail;
}

/* By its Message-ID, which stands in front of what is quoted. */
static uint64_t report_id(struct slice content)
{
    static const char field[] = "Message-ID: ";
    const uint8_t *at = memmem(content.ptr, content.len, field, strlen(field));
    if (at == NULL) {
        sim_fail("a DSN without Message-ID");
    }
    struct slice id = slice_from(content, (size_t)(at - content.ptr) + strlen(field));
    return hash_checksum(slice_first(id, slice_find(id, '\r')));
}

void report_taken(struct slice rcpt, struct slice content, struct copy copy)
{
    copy.report = report_id(content);
    each_about(reported_mail(rcpt), content, &taken, &copy);
}

/* --- what ends without a word ------------------------------------------------------------------
 */

/* A report in the queue has failed for good: nobody is told that (RFC 5321 section 6.1). */
static void lose_report(const struct active *active, struct slice rcpt, struct slice content)
{
    struct mail *mail = reported_mail(rcpt);
    if (content.len < active->msg->body_bytes) {
        sim_fail("the report to %.*s is given up and not whole", SLICE_ARGS(rcpt));
    }
    if (!times_report_expired(mail) && !oracle.rot) {
        sim_fail("the report to %.*s is given up for nothing", SLICE_ARGS(rcpt));
    }
    sim_say("the report to %.*s is given up", SLICE_ARGS(rcpt));
    each_about(mail, content, &lost, NULL);
}

/* Of somebody about whom nobody wants to be told. */
static void lose_mail(struct slice rcpt, struct slice content)
{
    struct mail *mail = oracle_mail_in(content, "Subject: sim-");
    struct mail_rcpt *of = mail == NULL ? NULL : mail_rcpt_of(mail, rcpt);
    if (of == NULL) {
        sim_fail("mail for %.*s is given up, and nobody sent it", SLICE_ARGS(rcpt));
    }
    sim_say("message %u is given up for %s without a report", mail->id, of->address);
    of->given_up++;
    of->expired = of->expired || times_expired(mail, of);
    check_failed(mail, of, "given up without a report:");
}

bool __real_bounce_wanted(const struct active *active, uint32_t rcpt, int action);
bool __wrap_bounce_wanted(const struct active *active, uint32_t rcpt, int action);

bool __wrap_bounce_wanted(const struct active *active, uint32_t rcpt, int action)
{
    const struct envelope *env = &active->txn->env;
    bool wanted = __real_bounce_wanted(active, rcpt, action);
    notices_outcome(active, rcpt, action);
    if (action != DSN_FAILED || wanted) {
        return wanted;
    }
    uint8_t *buf = sim_alloc(DSN_FULL_MAX);
    struct slice content = content_head(active, buf, DSN_FULL_MAX);
    if (env->source == SOURCE_DSN) {
        lose_report(active, env->rcpts[rcpt].address, content);
    } else {
        lose_mail(env->rcpts[rcpt].address, content);
    }
    sim_free(buf);
    return false;
}
