/* For the oracle: making messages, and finding their recipients. */
#pragma once

#include "tests/sim/oracle.h"

/* Fills in recipients and content. */
void mail_make(struct mail *mail, size_t bytes, bool wide);
/* The first recipient with this address, named or member of a list that is; or NULL. */
struct mail_rcpt *mail_rcpt_of(struct mail *mail, struct slice address);
/* How often it is one: so many copies it gets, and so many reports there are about it. */
unsigned mail_times_named(const struct mail *mail, const struct mail_rcpt *of);
/* Is there a list among its first `count` recipients? */
bool mail_names_list(const struct mail *mail, unsigned count);
/* Does the sender want such reports (enum dsn_notify) about it? */
bool mail_wants(const struct mail_rcpt *rcpt, uint8_t what);
