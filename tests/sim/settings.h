/* The configuration of the simulated server: a few objects in many versions, what the cores start
 * with, and the stored objects as the publisher (admin/publish) reads them. It survives a kill, as
 * the registry does; that its transactions are atomic is SQLite's promise and not tried here. */
#pragma once

#include "admin/config.h"
#include "admin/objects.h"

enum { SETTINGS_CHANGES_MAX = 32, SETTINGS_EXTRA = 4, SETTINGS_NEWS = 4 };

struct settings {
    uint64_t generation;
    bool other_name;      /* another name of the server: banners, and all next hops are new */
    bool second_listener; /* port 2525, behind a proxy */
    bool source_moved;    /* relays lead to other hosts */
    bool lmtp_moved;
    bool spare_route; /* the others get other numbers */
    bool slow;        /* delivery schedules, where there are some */
    unsigned certificate;
    unsigned extra; /* bits: accounts extra0.. */
    bool domain, renamed, relay, domain_alias;
    unsigned alias;   /* the account that "alias" leads to: user0 or user1 */
    unsigned blocked; /* bits: clients of crowd.c */
    unsigned news;    /* bits: members of the list "news": user0.. */
};

/* The registry. */
struct store {
    struct settings now, before;
    bool open;
    unsigned extra_always, news_always; /* bits that no version of this run was without */
    bool domain_always;
};
extern struct store settings_store;

void settings_setup(void);
/* A new run begins with these. */
void settings_reset(bool second_listener);
/* One to three random differences. */
void settings_mutate(struct settings *settings);
void settings_begin(const struct settings *next);
void settings_commit(void);
void settings_rollback(void);
/* As management tells the publisher; objects belong to the caller (settings_changes_free). */
size_t settings_changes(struct object_change out[SETTINGS_CHANGES_MAX],
                        const struct settings *before, const struct settings *after);
void settings_changes_free(struct object_change *changes, size_t count);
/* Image and records of a start; config_free. NULL: no memory. */
struct config *settings_config(const struct settings *settings, bool whole);
/* Configurations that were made and not freed. */
unsigned settings_configs(void);
void settings_killed(void);
/* The n-th address to ask about, NULL behind the last. */
const char *settings_probe(unsigned n);
/* Is RCPT to this address (as clients and settings_probe use them) answered 250? */
bool settings_accepts(const struct settings *settings, const char *address);
/* How many connections one client may have, in all configurations from now on; 0: as many as there
 * are. */
void settings_limit(uint32_t connections);
/* What all configurations say of domains that relay from now on: enum dir_verify. */
void settings_verify(uint8_t verify);
uint8_t settings_verification(void);
/* What the images of all configurations say of performance from now on. */
void settings_tune(const struct performance *performance);
