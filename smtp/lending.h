/* How many connections to one next hop there may be, and how they are divided among the cores.
 * Pure; it belongs to the one core that the next hop's name hashes to (smtp/slots.h).
 *
 * The window is what the next hop has shown to bear: it begins small, grows by one when as many
 * transactions as it is wide have gone well, and halves when a connection fails; never over the
 * limit. No more than the window is ever lent; when it shrinks, slots are recalled. While more is
 * wanted than there is, cores with more than an equal part are asked to give some back, and where
 * there are fewer slots than cores, they go round. */
#pragma once

#include "core/base.h"

enum {
    LENDING_FIRST = 5,        /* window of a next hop that nothing is known of */
    LENDING_SHRINK_MS = 1000, /* failures within this time count as one */
    LENDING_CALM_MS = 10000,  /* after one, the window does not grow for so long */
    LENDING_WANTS_MAX = 4096, /* of a core */
};

struct lending_core {
    uint16_t lent;
    uint16_t wants;    /* on top of it */
    uint16_t recalled; /* of what is lent, not yet back */
};

struct lending {
    unsigned limit, window;
    unsigned lent;       /* to all cores */
    uint32_t successes;  /* since the window has changed */
    uint64_t shrunk_ns;  /* 0: never */
    unsigned turn;       /* who is looked at first for a grant, and: */
    unsigned other_turn; /* for a recall */
    unsigned count;
    struct lending_core *cores;
};

struct lending_report {
    bool asks;
    uint16_t wants; /* when it asks */
    uint16_t returned;
    uint16_t failures;
    uint32_t successes;
};

void lending_init(struct lending *lending, struct lending_core *cores, unsigned count,
                  unsigned limit);
/* The configured limit has changed; a window that was held by it follows. */
void lending_limit(struct lending *lending, unsigned limit);
/* What a core says. Call lending_next until there is nothing more. */
void lending_report(struct lending *lending, unsigned core, const struct lending_report *report,
                    uint64_t now_ns);
enum lending_act { LENDING_NOTHING, LENDING_GRANT, LENDING_RECALL };
/* One slot to grant to a core, or to ask back from it; noted as done. */
enum lending_act lending_next(struct lending *lending, unsigned *out_core);
/* Nobody has or wants anything. */
bool lending_is_idle(const struct lending *lending);
