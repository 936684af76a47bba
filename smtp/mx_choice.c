#include "smtp/mx_choice.h"

#include "core/hash.h"
#include "core/text.h"

static bool is_before(const struct mx_host *a, const struct mx_host *b)
{
    return a->preference != b->preference ? a->preference < b->preference : a->key < b->key;
}

static struct mx_host *find(struct mx_choice *choice, struct slice name)
{
    for (unsigned i = 0; i < choice->count; i++) {
        if (text_equal_nocase(choice->hosts[i].name, name)) {
            return &choice->hosts[i];
        }
    }
    return NULL;
}

static void insert(struct mx_choice *choice, const struct mx_host *host)
{
    unsigned at = choice->count;
    if (at == MX_RECORDS_MAX) {
        if (!is_before(host, &choice->hosts[--at])) {
            return;
        }
    } else {
        choice->count++;
    }
    while (at > 0 && is_before(host, &choice->hosts[at - 1])) {
        choice->hosts[at] = choice->hosts[at - 1];
        at--;
    }
    choice->hosts[at] = *host;
}

static void remove_host(struct mx_choice *choice, struct mx_host *host)
{
    size_t behind = (size_t)(choice->hosts + choice->count - host) - 1;
    memmove(host, host + 1, behind * sizeof *host);
    choice->count--;
}

/* Nothing from our own preference on. */
static void cut(struct mx_choice *choice, struct slice own)
{
    const struct mx_host *here = find(choice, own);
    unsigned keep = 0;
    if (here == NULL) {
        return;
    }
    uint16_t preference = here->preference;
    while (choice->hosts[keep].preference < preference) {
        keep++;
    }
    choice->count = keep;
    choice->verdict = keep == 0 ? MX_LOOP : MX_HOSTS;
}

static void find_equals(struct mx_choice *choice)
{
    for (unsigned i = 1; i < choice->count; i++) {
        if (choice->hosts[i].preference == choice->hosts[i - 1].preference) {
            choice->hosts[i].shares = choice->hosts[i - 1].shares = true;
        }
    }
}

void mx_choose(struct mx_choice *choice, const struct dns_answer *answer, struct slice own,
               unsigned max, uint64_t random)
{
    struct dns_rdata rdata;
    size_t at = 0;
    bool nobody = false;
    choice->count = 0;
    choice->verdict = MX_HOSTS;
    while (dns_answer_next(answer, &at, &rdata)) {
        struct mx_host host = {.preference = rdata.preference,
                               .key = hash_seeded(rdata.data, random),
                               .name = rdata.data};
        struct mx_host *same = find(choice, host.name);
        if (host.name.len == 0) {
            nobody = true; /* "." */
            continue;
        }
        if (same != NULL && same->preference <= host.preference) {
            continue;
        }
        if (same != NULL) {
            remove_host(choice, same);
        }
        insert(choice, &host);
    }
    if (choice->count == 0) {
        choice->verdict = nobody ? MX_NULL : MX_IMPLICIT;
        return;
    }
    cut(choice, own);
    find_equals(choice);
    choice->count = choice->count < max ? choice->count : max;
}
