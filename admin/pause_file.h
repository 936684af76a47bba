/* What is paused, kept in the data folder, so that it is paused after a restart as well. */
#pragma once

#include "admin/data_dir.h"
#include "smtp/deliver.h"

enum { PAUSE_FILE_MAX = 64 * 1024 };

/* Nothing is paused when there is no file. MX_ERR_SYNTAX: it is not ours. */
MX_MUST_CHECK mx_err pause_file_read(struct deliver_pause *out_pause, const char *root);
/* Durable when it returns. */
MX_MUST_CHECK mx_err pause_file_write(const struct deliver_pause *pause, const char *root);

/* What is paused, or goes on: one route, one virtual queue, both, or with neither everything. */
struct pause_of {
    struct slice route, queue;
};
/* Resuming everything resumes routes and queues, too. MX_ERR_LIMIT: PAUSED_ROUTES_MAX are, or as
 * many queues as there can be; or a name is too long. */
MX_MUST_CHECK mx_err pause_add(struct deliver_pause *pause, const struct pause_of *of);
void pause_remove(struct deliver_pause *pause, const struct pause_of *of);
