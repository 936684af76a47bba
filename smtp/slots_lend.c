/* The lender of slots: what it has of each next hop, and what it tells the cores. */
#include "smtp/slots_private.h"

#include <stdlib.h>

static struct loans *loans_find(struct slots *slots, uint64_t key)
{
    struct loans *loans = slots->loans[slots_bucket(key)];
    while (loans != NULL && loans->key != key) {
        loans = loans->next;
    }
    return loans;
}

bool slots_sweep_loans(struct slots *slots, uint64_t now_ns)
{
    bool left = false;
    for (unsigned i = 0; i < SLOT_BUCKETS; i++) {
        struct loans **at = &slots->loans[i];
        while (*at != NULL) {
            struct loans *loans = *at;
            if (lending_is_idle(&loans->lending) && !list_linked(&loans->untold_node) &&
                now_ns >= loans->used_ns + SLOT_LOANS_KEPT_MS * MX_NS_PER_MS) {
                *at = loans->next;
                slots->loans_count--;
                free(loans);
            } else {
                at = &loans->next;
                left = true;
            }
        }
    }
    return left;
}

static struct loans *loans_of(struct slots *slots, uint64_t key)
{
    struct loans *loans = loans_find(slots, key);
    if (loans != NULL) {
        return loans;
    }
    size_t each = sizeof(struct lending_core) + sizeof(struct loan_untold);
    if (slots->loans_count >= SLOT_NAMES_MAX) {
        (void)slots_sweep_loans(slots, slots->d->shard->now_ns);
    }
    loans =
        slots->loans_count < SLOT_NAMES_MAX ? calloc(1, sizeof *loans + slots->cores * each) : NULL;
    if (loans == NULL) {
        return NULL;
    }
    struct lending_core *cores = (struct lending_core *)(loans + 1);
    loans->key = key;
    loans->untold = (struct loan_untold *)(cores + slots->cores);
    lending_init(&loans->lending, cores, slots->cores,
                 (unsigned)slots->d->performance.hop_connections);
    loans->next = slots->loans[slots_bucket(key)];
    slots->loans[slots_bucket(key)] = loans;
    slots->loans_count++;
    slots_sweep_later(slots);
    return loans;
}

/* False: not now. */
static bool loan_send(struct slots *slots, const struct loans *loans, unsigned core,
                      struct loan_untold untold)
{
    if (slots->d->stopping) {
        return true; /* so are the others */
    }
    struct loan_msg *loan = calloc(1, sizeof *loan);
    if (loan == NULL) {
        return false;
    }
    *loan = (struct loan_msg){
        .msg = {.receive = slots_loan_receive}, .key = loans->key, .loan = untold};
    if (mbox_send(slots->d->shard->hub, slots->self, core, &loan->msg)) {
        free(loan);
        return false;
    }
    return true;
}

void slots_tell(struct slots *slots, struct loans *loans)
{
    bool all = true;
    for (unsigned i = 0; i < slots->cores; i++) {
        struct loan_untold untold = loans->untold[i];
        if (untold.granted == 0 && untold.recalled == 0 && !untold.full) {
            continue;
        }
        loans->untold[i] = (struct loan_untold){0};
        bool told = i == slots->self ? slots_loan(slots, loans->key, untold)
                                     : loan_send(slots, loans, i, untold);
        if (!told) { /* nothing else has come to be told meanwhile */
            loans->untold[i] = untold;
            all = false;
        }
    }
    list_remove(&loans->untold_node);
    if (!all) {
        list_push_back(&slots->untold_loans, &loans->untold_node);
        slots_retry_later(slots);
    }
}

/* asker: the core that has just asked for more; cores: none. */
static void loans_decide(struct slots *slots, struct loans *loans, unsigned asker)
{
    enum lending_act act;
    unsigned core;
    bool news = false;
    while ((act = lending_next(&loans->lending, &core)) != LENDING_NOTHING) {
        struct loan_untold *untold = &loans->untold[core];
        uint16_t *number = act == LENDING_GRANT ? &untold->granted : &untold->recalled;
        ++*number;
        news = true;
    }
    if (asker < slots->cores && loans->untold[asker].granted == 0) {
        loans->untold[asker].full = news = true;
    }
    if (news) {
        slots_tell(slots, loans);
    }
}

void slots_report(struct slots *slots, uint64_t key, unsigned from,
                  const struct lending_report *told)
{
    struct loans *loans = loans_of(slots, key);
    if (loans == NULL) {
        return; /* the core asks again; nothing was lent */
    }
    loans->used_ns = slots->d->shard->now_ns;
    lending_report(&loans->lending, from, told, loans->used_ns);
    loans_decide(slots, loans, told->asks && told->wants > 0 ? from : slots->cores);
}

void slots_report_receive(struct mbox_msg *msg, struct shard *at)
{
    struct report_msg *told = mx_container_of(msg, struct report_msg, msg);
    struct slots *slots = slots_at(at);
    if (slots != NULL) {
        slots_report(slots, told->key, told->from, &told->report);
    }
    free(told);
}

void slots_limit(struct slots *slots)
{
    for (unsigned i = 0; i < SLOT_BUCKETS; i++) {
        for (struct loans *loans = slots->loans[i]; loans != NULL; loans = loans->next) {
            lending_limit(&loans->lending, (unsigned)slots->d->performance.hop_connections);
            loans_decide(slots, loans, slots->cores);
        }
    }
}
