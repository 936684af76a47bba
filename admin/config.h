/* From the stored configuration to what the cores read. The registry (SQLite) is opened, validated
 * and compiled into an image and a list of directory records; both are immutable and outlive the
 * cores.
 *
 * The caller holds the data folder's lock (io/sys.h sys_lock on DATA_DIR/lock). The text and the
 * programs that the image and the records point to belong to the config and are valid until
 * config_free. */
#pragma once

#include "core/err.h"
#include "route/directory.h"
#include "route/image.h"

enum { CONFIG_SKIPPED_MAX = 512 };

struct config {
    struct image image;
    const struct dir_domain *domains; /* a domain's aliases are records of their own */
    size_t domain_count;
    const struct dir_block *addresses;
    size_t address_count;
    /* A certificate that is not the default one and cannot be read, if any: why; else empty. */
    char skipped_certificate[CONFIG_SKIPPED_MAX];
    void *arena; /* private */
};

struct config_problem {
    char text[512];    /* one readable sentence: object, field, reason */
    char object[256];  /* name of the object at fault; empty: not one in particular */
    char property[32]; /* of that object; empty: not one in particular */
    uint64_t ids[2];   /* of objects that do not go together; 0: as object says */
};

/* Cut to fit; object, property and ids are emptied. */
void config_problem_set(struct config_problem *problem, const char *format, ...) MX_PRINTF(2, 3);
/* Whose fault it is. */
void config_problem_at(struct config_problem *problem, struct slice object, const char *property);

/* Loads DATA_DIR/registry.db (made with its first objects when absent; the folder exists). */
MX_MUST_CHECK mx_err config_load(struct config **out_config, const char *data_dir,
                                 struct config_problem *problem);
void config_free(struct config *config); /* NULL is fine */
