/* When: retries, reports of delay, and the end of what could not be delivered. */
#include "core/wheel.h"
#include "tests/sim/net.h"
#include "tests/sim/oracle_inside.h"
#include "tests/sim/oracle_mail.h"
#include "tests/sim/schedules.h"
#include "tests/sim/sim.h"

#include <stdio.h>

#define EARLY_NS ((WHEEL_TICK_MS + 1) * MX_NS_PER_MS)

/* Between the time of an attempt and what a next hop sees of it: a start, connecting. */
enum { ATTEMPT_SLACK_S = 30, TURN_SLACK_S = 1 };
/* A calm next hop takes a recipient when it is offered for the n-th time, n below this. */
enum { GREY_OFFERS = 4 };

/* The server counts in whole milliseconds, as of the beginning of a turn. */
enum { AGE_SLACK_MS = 2 };

static bool is_older(const struct mail *mail, uint64_t age_ns)
{
    uint64_t now_ns = sim.now_ns + AGE_SLACK_MS * MX_NS_PER_MS;
    return age_ns > 0 && (oracle.conf.clock_jumps || now_ns - mail->made_ns >= age_ns);
}

/* Operations that fail are sends too: a next hop or the DNS is then not there for a while. */
static bool is_calm(void)
{
    return oracle.conf.calm && !sim.disk_trouble;
}

/* 0: no mail gets that old. */
static uint64_t end_ns(const char *address)
{
    return schedules_set() ? schedules_end_ns(address) : oracle.conf.expire_ns;
}

static uint64_t notify_ns(const char *address, unsigned n)
{
    return schedules_set() ? schedules_notify_ns(address, n) : n == 0 ? oracle.conf.notify_ns : 0;
}

bool times_expired(const struct mail *mail, const struct mail_rcpt *of)
{
    return is_older(mail, end_ns(of->address));
}

bool times_report_expired(const struct mail *mail)
{
    return is_older(mail, end_ns(mail->sender));
}

bool times_delayed(const struct mail *mail, const struct mail_rcpt *of, unsigned n)
{
    return is_older(mail, notify_ns(of->address, n));
}

/* Where it depends on the DNS, that may have been away. */
static bool is_unsure(void)
{
    return oracle.conf.clock_jumps || (schedules_ask() && sim.disk_trouble);
}

bool times_delayed_for(const struct mail *mail, const struct mail_rcpt *of, unsigned n,
                       uint64_t for_ns)
{
    uint64_t age_ns = schedules_set() ? schedules_notify_last_ns(of->address, n)
                      : n == 0        ? oracle.conf.notify_ns
                                      : 0;
    return age_ns > 0 && mail->accepted_ns > 0 && !is_unsure() &&
           sim.now_ns >= mail->accepted_ns + age_ns + for_ns + AGE_SLACK_MS * MX_NS_PER_MS;
}

uint64_t times_slack_ns(bool begins)
{
    return (begins && is_calm() ? TURN_SLACK_S : ATTEMPT_SLACK_S) * MX_NS_PER_S;
}

/* What became due while the process was not there is tried once more. */
static uint64_t began_ns(void)
{
    return oracle.life > 0 ? oracle.killed_ns[oracle.life - 1] : 0;
}

bool times_are_kept(void)
{
    return schedules_set() && !sim.faults && !oracle.rot &&
           (oracle.life == 0 || sim.now_ns >= began_ns() + times_slack_ns(false));
}

bool times_puts_off(const struct mail_rcpt *of)
{
    unsigned id = 0;
    (void)sscanf(of->address, "r%u-", &id);
    return oracle.conf.calm && schedules_set() && of->offers < id % GREY_OFFERS;
}

void times_check_turn(const struct mail *mail, const struct mail_rcpt *of)
{
    uint64_t took_ns = sim.now_ns - of->offered_ns;
    /* Who is due within a tick goes with others of the message. An attempt that only a report needs
     * is no step of the schedule. */
    uint64_t notice_ns = notify_ns(of->address, 0);
    bool extra = notice_ns > 0 && sim.now_ns - mail->made_ns + EARLY_NS >= notice_ns;
    if (of->offers == 0 || of->offered_life != oracle.life || extra || !is_calm() ||
        !schedules_set() || oracle.conf.clock_jumps || oracle.rot) {
        return;
    }
    /* What a killed process did not write down is done again. */
    unsigned first = oracle.life > 0 ? 0 : of->offers - 1;
    uint64_t least_ns = schedules_wait_ns(of->address, first, true);
    uint64_t most_ns = schedules_wait_ns(of->address, of->offers - 1, false);
    if (took_ns + EARLY_NS < least_ns || took_ns > most_ns + TURN_SLACK_S * MX_NS_PER_S) {
        sim_fail("message %u is offered for %s after %.3f s, put off %u times, for %.3f to %.3f s",
                 mail->id, of->address, (double)took_ns / 1e9, of->offers, (double)least_ns / 1e9,
                 (double)most_ns / 1e9);
    }
}

void times_check_late(const struct mail *mail, const struct mail_rcpt *of)
{
    uint64_t last_ns = schedules_set() ? schedules_last_ns(of->address) : oracle.conf.expire_ns;
    bool own = of < mail->rcpts + mail->rcpt_count; /* else its age is that of the list's mail */
    if (last_ns == 0 || mail->accepted_ns == 0 || !own || sim.faults || is_unsure()) {
        return;
    }
    uint64_t until_ns = mail->accepted_ns + last_ns;
    until_ns = (until_ns > began_ns() ? until_ns : began_ns()) + times_slack_ns(false);
    if (sim.now_ns > until_ns) {
        sim_fail("message %u was delivered to %s at the age of %.1f s, of at most %.1f s", mail->id,
                 of->address, (double)(sim.now_ns - mail->made_ns) / 1e9, (double)last_ns / 1e9);
    }
}
