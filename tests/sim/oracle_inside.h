/* What the parts of the oracle share: oracle.c (mail), oracle_reports.c (what senders are told),
 * oracle_times.c (when). */
#pragma once

#include "tests/sim/oracle.h"

enum { MAILS_MAX = 4096, LIVES_SEEN_MAX = 64 };

struct oracle {
    struct mail *mails[MAILS_MAX];
    unsigned count;
    unsigned life;
    uint64_t killed_ns[LIVES_SEEN_MAX], trouble_ns[LIVES_SEEN_MAX]; /* per life */
    bool rot, rot_lost;
    struct oracle_conf conf;
    unsigned accepted;
    unsigned held, ended; /* changes that were answered */
};
extern struct oracle oracle;

struct active;

/* The message whose number follows the prefix in the text, or NULL. */
struct mail *oracle_mail_in(struct slice text, const char *prefix);
/* May the program have missed that the last copy was taken? */
bool oracle_may_repeat(const struct copy *last);
/* May what was on its way to the disk then be lost, in the life that ends now? */
bool oracle_may_be_lost(uint64_t from_ns);

/* A next hop has a DSN for this address. */
void report_taken(struct slice rcpt, struct slice content, struct copy copy);

/* Is it old enough to be given up, or for the n-th report of a delay (from 0)? */
bool times_expired(const struct mail *mail, const struct mail_rcpt *of);
bool times_delayed(const struct mail *mail, const struct mail_rcpt *of, unsigned n);
/* ... for so long at least, whichever schedule holds; false when that cannot be known. */
bool times_delayed_for(const struct mail *mail, const struct mail_rcpt *of, unsigned n,
                       uint64_t for_ns);
/* A report about it. */
bool times_report_expired(const struct mail *mail);
/* Is it put off, for the sake of its schedule? */
bool times_puts_off(const struct mail_rcpt *of);
/* Offered again after it was put off, `offers` times: when its schedule says. */
void times_check_turn(const struct mail *mail, const struct mail_rcpt *of);
/* Delivered: not so late that it should have been given up. */
void times_check_late(const struct mail *mail, const struct mail_rcpt *of);
/* Is everybody tried when the schedule says, by so much later at most? */
bool times_are_kept(void);
uint64_t times_slack_ns(bool begins); /* until an attempt begins, or has succeeded */

/* The program asks bounce_wanted about this recipient. */
void notices_outcome(const struct active *active, uint32_t rcpt, int action);
void notices_killed(void);
/* It has waited until now; begins: until an attempt began, or failed. */
void notices_check_wait(struct mail *mail, const struct mail_rcpt *of, bool begins);
void notices_judge(struct mail *mail);
