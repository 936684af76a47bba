/* Compiles what a store holds, inside or outside of a transaction, so that a change is known to
 * compile before it is committed. */
#pragma once

#include "admin/config.h"
#include "admin/store.h"

enum config_parts {
    CONFIG_IMAGE, /* settings, routes, listeners; no directory records */
    CONFIG_WHOLE,
};

/* *out_type is the type of the object that is at fault (NULL: none in particular). */
MX_MUST_CHECK mx_err config_build(struct config **out_config, struct store *store,
                                  enum config_parts parts, const struct reg_type **out_type,
                                  struct config_problem *problem);
