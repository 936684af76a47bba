/* What settings.c (as the cores read it) and settings_objects.c (as it is stored) share. */
#pragma once

#include "tests/sim/settings.h"

enum { SIM_ACCOUNTS = 9, SIM_LISTS = 3, SIM_MEMBERS_MAX = 4, SIM_CONNECTIONS_MAX = 64 };

struct sim_account {
    uint64_t id, domain;
    const char *name;
    int bit; /* of settings.extra, or negative */
};
struct sim_list {
    uint64_t id;
    const char *name;
    const char *const *members; /* NULL: settings.news says */
};
extern const struct sim_account sim_accounts[SIM_ACCOUNTS];
extern const struct sim_list sim_lists[SIM_LISTS];

bool sim_account_exists(const struct settings *s, const struct sim_account *account);
bool sim_account_has_alias(const struct settings *s, const struct sim_account *account);
const char *sim_domain_name(const struct settings *s, uint64_t id);
unsigned sim_list_members(const char *out[SIM_MEMBERS_MAX], const struct settings *s,
                          const struct sim_list *list);
