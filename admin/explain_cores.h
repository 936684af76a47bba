/* Asks a core what would become of a recipient (smtp/explain), and waits for the answer. Runs on
 * the management worker: nothing is published meanwhile, so the answer may be read until the next
 * question. */
#pragma once

#include "admin/queue_cores.h"
#include "smtp/explain.h"

struct explain_cores;

/* metrics: of the process, as expressions see them. */
MX_MUST_CHECK mx_err explain_cores_new(struct explain_cores **out_cores,
                                       const struct queue_cores_conf *conf,
                                       const struct expr_metrics *metrics);
/* After the cores have ended. NULL is fine. */
void explain_cores_free(struct explain_cores *cores);
/* config: tried instead of the one in force; NULL: that one. MX_ERR_TIMEOUT: no answer in
 * QUEUE_WAIT_MS. MX_ERR_AGAIN: still busy with an earlier question, or it does not serve yet.
 * MX_ERR_UNSUPPORTED: there are no cores. MX_ERR_RANGE: a text is too long.
 */
MX_MUST_CHECK mx_err explain_cores_ask(struct explain_cores *cores,
                                       const struct explain_query *query,
                                       const struct explain_config *config,
                                       const struct explanation **out_explanation);
/* Frees what the configuration that was tried belongs to: now, or when a core that has not answered
 * in time has done with it. */
void explain_cores_free_config(struct explain_cores *cores, const struct explain_config *config,
                               void *owner, void (*free_it)(void *owner));
const struct expr_metrics *explain_cores_metrics(const struct explain_cores *cores);
