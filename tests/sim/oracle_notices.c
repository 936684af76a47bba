/* Reports of a delay: none that is due is missing. The program is seen to fail with a recipient for
 * now; whether that is the first time behind a further step of the schedule is decided here. */
#include "core/check.h"
#include "smtp/bounce.h"
#include "tests/sim/oracle_inside.h"
#include "tests/sim/oracle_mail.h"
#include "tests/sim/schedules.h"
#include "tests/sim/sim.h"

/* The question that comes before the outcome of an attempt that has failed for now. */
static struct {
    const struct active *active;
    uint32_t rcpt;
} asked;

/* Steps that may have passed. */
static unsigned steps_possible(const struct mail *mail, const struct mail_rcpt *of)
{
    unsigned n = 0;
    while (times_delayed(mail, of, n)) {
        n++;
    }
    return n;
}

/* Steps that have passed for so long at least. */
static unsigned steps_certain(const struct mail *mail, const struct mail_rcpt *of, uint64_t for_ns)
{
    unsigned n = 0;
    while (times_delayed_for(mail, of, n, for_ns)) {
        n++;
    }
    return n;
}

/* Who is named once, by the client, and about whom the sender wants to be told. */
static bool is_told(struct mail *mail, const struct mail_rcpt *of)
{
    bool own = of != NULL && of < mail->rcpts + mail->rcpt_count;
    return own && !mail->null_sender && mail_wants(of, NOTIFY_DELAY) &&
           mail_times_named(mail, of) == 1;
}

static void attempt_failed(struct mail *mail, struct mail_rcpt *of)
{
    struct notices *notices = &of->notices;
    if (steps_certain(mail, of, 0) > notices->steps) {
        notices->owed += notices->open;
        notices->open = true;
        notices->sent_ns = 0;
        sim_say("message %u: a delay DSN about %s is due", mail->id, of->address);
    }
    unsigned steps = steps_possible(mail, of);
    notices->steps = steps > notices->steps ? steps : notices->steps;
}

void notices_check_wait(struct mail *mail, const struct mail_rcpt *of, bool begins)
{
    if (is_told(mail, of) && times_are_kept() &&
        steps_certain(mail, of, times_slack_ns(begins)) > of->notices.steps) {
        sim_fail("message %u waited for %s beyond the time of a delay DSN, and was not tried then",
                 mail->id, of->address);
    }
}

void notices_outcome(const struct active *active, uint32_t rcpt, int action)
{
    const struct envelope *env = &active->txn->env;
    bool follows = asked.active == active && asked.rcpt == rcpt;
    struct mail *mail = env->source == SOURCE_DSN ? NULL : oracle_from(env->sender);
    struct mail_rcpt *of = mail == NULL ? NULL : mail_rcpt_of(mail, env->rcpts[rcpt].address);
    asked.active = NULL;
    if (!follows && action == DSN_DELAYED) {
        asked.active = active;
        asked.rcpt = rcpt;
    } else if (follows && of != NULL && action == DSN_FAILED) {
        notices_check_wait(mail, of, true);
    } else if (follows && of != NULL && is_told(mail, of)) {
        attempt_failed(mail, of);
    }
}

void __real_bounce_send(struct active *active);
void __wrap_bounce_send(struct active *active);

/* From now on the report is on its way to the disk. */
void __wrap_bounce_send(struct active *active)
{
    struct mail *mail = active->txn == NULL || active->txn->env.source == SOURCE_DSN
                            ? NULL
                            : oracle_from(active->txn->env.sender);
    for (unsigned i = 0; mail != NULL && i < mail->rcpt_count; i++) {
        struct notices *notices = &mail->rcpts[i].notices;
        if (notices->open && notices->sent_ns == 0) {
            notices->sent_ns = sim.now_ns;
        }
    }
    __real_bounce_send(active);
}

void notices_killed(void)
{
    asked.active = NULL;
    for (unsigned i = 0; i < oracle.count; i++) {
        struct mail *mail = oracle.mails[i];
        for (unsigned k = 0; k < mail->rcpt_count; k++) {
            struct notices *notices = &mail->rcpts[k].notices;
            bool durable = notices->sent_ns > 0 && !oracle_may_be_lost(notices->sent_ns);
            notices->owed += notices->open && durable;
            notices->open = false;
        }
    }
}

void notices_judge(struct mail *mail)
{
    for (unsigned i = 0; i < mail->rcpt_count && !oracle.rot; i++) {
        const struct mail_rcpt *of = &mail->rcpts[i];
        unsigned owed = of->notices.owed + of->notices.open;
        if (of->notices.taken + of->notices.lost < owed) {
            sim_fail("message %u: %u delay DSNs about %s, and %u given up, of %u that were due",
                     mail->id, of->notices.taken, of->address, of->notices.lost, owed);
        }
    }
}
