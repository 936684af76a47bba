/* Routing that has to ask the DNS, before a message is delivered: what its expressions ask is found
 * out first, then its recipients are routed in one go. It stays in memory meanwhile. */
#pragma once

#include "smtp/deliver.h"

/* True: everything is known that routing the due recipients before *out_end needs; those behind are
 * for the next attempt, which follows at once. False: something is asked; active_dispatch follows,
 * at the latest when deliver_stop_asking is called. */
bool deliver_routes_known(struct active *active, uint32_t *out_end);
/* There is memory for what route expressions will be told. What is left when there is not serves
 * messages that have begun to ask: counters that they have changed would be changed again. */
bool deliver_may_ask(const struct deliver *d);
/* For routing with what is known by now; *asker stays with the active. */
void deliver_asker(struct expr_asker *out, struct active *active);
/* Nothing is waited for any more. */
void deliver_stop_asking(struct deliver *d);
/* The message leaves memory. */
void deliver_forget_answers(struct active *active);
