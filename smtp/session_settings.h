/* Limits of one session: those of the configuration, and what its expressions (context CONN) say
 * about this client. */
#pragma once

#include "route/directory.h"
#include "route/image.h"
#include "smtp/srv_engine.h"

/* What is known when a session begins. */
struct session_facts {
    const struct listener_conf *listener; /* NULL: it is gone meanwhile */
    struct netaddr client, local;
    const struct directory *directory;
    bool tls; /* from the first byte */
};

/* What expressions of a session see; the first member of what a host is given. */
struct session_view {
    const struct session_facts *facts;
    const struct image *image;
    char client[NETADDR_TEXT_MAX], local[NETADDR_TEXT_MAX];
};
/* A host for it; the caller may put functions of its own in the place of some. */
struct expr_host session_host(struct session_view *view);
void session_variable(void *view, uint16_t index, struct expr_value *out);

struct session_settings {
    struct session_limits limits;
    struct srv_conf conf;
};

struct srv_limits session_engine_limits(const struct session_limits *limits);
/* conf: of the listener. False: an expression could not be evaluated, *out_problem (static text)
 * says why. */
bool session_settings_take(struct session_settings *out, const struct image *image,
                           const struct srv_conf *conf, const struct session_facts *facts,
                           struct expr_vm *vm, const char **out_problem);
