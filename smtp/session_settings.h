/* Limits of one session: those of the configuration, and what its expressions (contexts CONN and
 * EHLO) say about this client. */
#pragma once

#include "route/directory.h"
#include "route/image.h"
#include "smtp/dns_answers.h"
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
    struct slice helo; /* empty before EHLO */
    struct expr_vm *vm;
    const struct expr_asker *asker; /* NULL: nobody can be asked */
    char client[NETADDR_TEXT_MAX], local[NETADDR_TEXT_MAX];
};
/* A host for it; the caller may put functions of its own in the place of some. */
struct expr_host session_host(struct session_view *view);
void session_variable(void *view, uint16_t index, struct expr_value *out);

/* A setting: where it is kept, for the server and for people. */
struct session_setting_row {
    const char *object, *name;
    enum expr_context context;
    bool negated;  /* the setting says what there is, the limits what there is not */
    bool zero;     /* 0 is a value of it */
    uint8_t width; /* bytes of the limit: 8, 4, 1 (truth); 0: a text */
    size_t offset; /* in struct session_limits */
};
const struct session_setting_row *session_setting_row(enum session_setting which);

struct session_settings {
    struct session_limits limits;
    struct srv_conf conf;
    uint8_t hostname[DOMAIN_MAX]; /* where an expression says it */
};

/* One evaluation of the programs of a session. */
struct session_run {
    const struct image *image;
    const struct session_facts *facts;
    struct slice helo;
    struct expr_vm *vm;
    const struct expr_asker *asker; /* NULL: nobody can be asked */
    const struct expr_trace *trace; /* NULL: nobody asks why */
    /* after EXPR_FAILED */
    enum session_setting failed;
    const char *problem; /* static text */
};

struct srv_limits session_engine_limits(const struct session_limits *limits);
/* As the image says, where it has no programs. conf: of the listener. */
void session_settings_init(struct session_settings *out, const struct image *image,
                           const struct srv_conf *conf);
/* What programs of this context say. EXPR_WAITING: run->asker's answers call again. */
enum expr_status session_settings_take(struct session_settings *out, enum expr_context context,
                                       struct session_run *run);
