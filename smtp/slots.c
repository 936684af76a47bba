#include "smtp/slots_private.h"

#include "core/check.h"
#include "core/hash.h"
#include "smtp/hop.h"
#include "smtp/relay.h"
#include "smtp/service.h"

#include <stdlib.h>

static unsigned lender_of(const struct slots *slots, uint64_t key)
{
    return (unsigned)(key % slots->cores);
}

struct slots *slots_at(struct shard *at)
{
    struct service *service = at->service;
    return service == NULL ? NULL : service->deliver.slots;
}

void slots_sweep_later(struct slots *slots)
{
    if (!timer_armed(&slots->sweep)) {
        shard_after(slots->d->shard, &slots->sweep, SLOT_LOANS_KEPT_MS * MX_NS_PER_MS);
    }
}

void slots_retry_later(struct slots *slots)
{
    if (!timer_armed(&slots->again)) {
        shard_after(slots->d->shard, &slots->again, SLOT_RETRY_MS * MX_NS_PER_MS);
    }
}

/* What is granted has to come back some day, so it is never forgotten: without memory it waits. */
static void loan_take(struct slots *slots, struct loan_msg *loan)
{
    if (slots_loan(slots, loan->key, loan->loan)) {
        free(loan);
    } else {
        list_push_back(&slots->kept, &loan->node);
        slots_retry_later(slots);
    }
}

void slots_loan_receive(struct mbox_msg *msg, struct shard *at)
{
    struct loan_msg *loan = mx_container_of(msg, struct loan_msg, msg);
    struct slots *slots = slots_at(at);
    if (slots != NULL) {
        loan_take(slots, loan);
    } else {
        free(loan);
    }
}

/* --- the borrower ------------------------------------------------------------------------------
 */

/* Nobody refers to it; a loan that is still on its way comes sooner than this. */
static bool is_over(const struct slot_account *account, uint64_t now_ns)
{
    return list_empty(&account->hops) && account->lent == 0 &&
           !list_linked(&account->untold_node) &&
           now_ns >= account->left_ns + SLOT_ACCOUNTS_KEPT_MS * MX_NS_PER_MS;
}

static void account_free(struct slots *slots, struct slot_account *account)
{
    struct slot_account **at = &slots->accounts[slots_bucket(account->key)];
    while (*at != account) {
        at = &(*at)->next;
    }
    *at = account->next;
    slots->account_count--;
    free(account);
}

static bool accounts_sweep(struct slots *slots, uint64_t now_ns)
{
    bool left = false;
    for (unsigned i = 0; i < SLOT_BUCKETS; i++) {
        struct slot_account **at = &slots->accounts[i];
        while (*at != NULL) {
            struct slot_account *account = *at;
            if (is_over(account, now_ns)) {
                *at = account->next;
                slots->account_count--;
                free(account);
            } else {
                at = &account->next;
                left = true;
            }
        }
    }
    return left;
}

static struct slot_account *account_find(struct slots *slots, uint64_t key)
{
    struct slot_account *account = slots->accounts[slots_bucket(key)];
    while (account != NULL && account->key != key) {
        account = account->next;
    }
    return account;
}

/* Made when there is none; NULL: no memory, or too many. */
static struct slot_account *account_of(struct slots *slots, uint64_t key)
{
    struct slot_account *account = account_find(slots, key);
    if (account != NULL) {
        return account;
    }
    if (slots->account_count >= SLOT_NAMES_MAX) {
        (void)accounts_sweep(slots, slots->d->shard->now_ns);
    }
    account = slots->account_count < SLOT_NAMES_MAX ? calloc(1, sizeof *account) : NULL;
    if (account == NULL) {
        return NULL;
    }
    account->key = key;
    account->left_ns = slots->d->shard->now_ns;
    list_init(&account->hops);
    account->next = slots->accounts[slots_bucket(key)];
    slots->accounts[slots_bucket(key)] = account;
    slots->account_count++;
    slots_sweep_later(slots);
    return account;
}

/* Ours, or in a message. False: not now. */
static bool report_send(struct slots *slots, const struct slot_account *account,
                        const struct lending_report *told)
{
    unsigned lender = lender_of(slots, account->key);
    struct report_msg *msg = calloc(1, sizeof *msg);
    if (msg == NULL) {
        return false;
    }
    *msg = (struct report_msg){.msg = {.receive = slots_report_receive},
                               .from = slots->self,
                               .key = account->key,
                               .report = *told};
    if (mbox_send(slots->d->shard->hub, slots->self, lender, &msg->msg)) {
        free(msg);
        return false;
    }
    return true;
}

static uint16_t cut(uint32_t number)
{
    return number < UINT16_MAX ? (uint16_t)number : UINT16_MAX;
}

/* Tells the lender what it does not know. */
static void report(struct slots *slots, struct slot_account *account)
{
    if (slots->d->stopping) {
        return; /* so are the others */
    }
    struct lending_report told = {.asks = account->asks,
                                  .wants = cut(account->wants),
                                  .returned = cut(account->returned),
                                  .failures = cut(account->failures),
                                  .successes = account->successes};
    bool own = lender_of(slots, account->key) == slots->self;
    if (!own && !report_send(slots, account, &told)) {
        if (!list_linked(&account->untold_node)) {
            list_push_back(&slots->untold_accounts, &account->untold_node);
        }
        slots_retry_later(slots);
        return;
    }
    list_remove(&account->untold_node);
    account->asks = false;
    account->returned -= told.returned;
    account->failures = account->successes = 0;
    if (own) {
        slots_report(slots, account->key, slots->self, &told);
    }
}

static bool is_needed(const struct slots *slots, const struct slot_account *account)
{
    struct list_node *node = list_first(&account->hops);
    for (; node != NULL; node = list_next(&account->hops, node)) {
        const struct hop *hop = mx_container_of(node, struct hop, slot_node);
        if (hop->waiting_count > 0 && !hop->retired && !hop->paused) {
            return !slots->d->stopping;
        }
    }
    return false;
}

static void give_back(struct slots *slots, struct slot_account *account, uint32_t count)
{
    MX_ASSERT(count <= account->lent - account->used);
    account->lent -= count;
    account->recalled -= count < account->recalled ? count : account->recalled;
    account->returned += count;
    report(slots, account);
}

static void settle(struct slots *slots, struct slot_account *account)
{
    uint32_t unused = account->lent - account->used;
    bool needed = is_needed(slots, account);
    uint32_t count = !needed || unused < account->recalled ? unused : account->recalled;
    bool cancel = account->asked && !needed && account->used == 0;
    if (cancel) {
        account->asked = account->full = false;
        account->asks = true;
        account->wants = 0;
    }
    if (count > 0 || cancel) {
        give_back(slots, account, count);
    }
}

bool slots_loan(struct slots *slots, uint64_t key, struct loan_untold loan)
{
    struct slot_account *account =
        loan.granted == 0 ? account_find(slots, key) : account_of(slots, key);
    if (account == NULL) {
        return loan.granted == 0;
    }
    account->lent += loan.granted;
    account->asked = account->asked && loan.granted == 0;
    account->full = loan.granted == 0 && (loan.full || account->full);
    account->recalled += loan.recalled;
    if (loan.full) {
        shard_again(slots->d->shard); /* a connection that rests may make room */
    }
    if (account->recalled > account->lent) {
        account->recalled = account->lent;
    }
    if (!is_needed(slots, account)) { /* else it is used once before it goes on */
        settle(slots, account);
    }
    struct list_node *node = list_first(&account->hops);
    for (; node != NULL && loan.recalled > 0; node = list_next(&account->hops, node)) {
        struct hop *hop = mx_container_of(node, struct hop, slot_node);
        while (account->recalled > account->leaving && relay_quit_one(hop)) {
        }
    }
    return true;
}

static void again_fire(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    struct slots *slots = mx_container_of(timer, struct slots, again);
    struct list accounts, loans, kept;
    struct list_node *node;
    list_init(&accounts);
    list_init(&loans);
    list_init(&kept);
    list_splice(&kept, &slots->kept);
    list_splice(&accounts, &slots->untold_accounts);
    list_splice(&loans, &slots->untold_loans);
    while ((node = list_pop_front(&accounts)) != NULL) {
        report(slots, mx_container_of(node, struct slot_account, untold_node));
    }
    while ((node = list_pop_front(&loans)) != NULL) {
        slots_tell(slots, mx_container_of(node, struct loans, untold_node));
    }
    while ((node = list_pop_front(&kept)) != NULL) {
        loan_take(slots, mx_container_of(node, struct loan_msg, node));
    }
}

/* Hops may open connections again: they are looked at in the next turn. */
static void quiet_fire(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    shard_again(mx_container_of(timer, struct slots, quiet)->d->shard);
}

static void sweep_fire(struct timer *timer, uint64_t now_ns)
{
    struct slots *slots = mx_container_of(timer, struct slots, sweep);
    bool accounts_left = accounts_sweep(slots, now_ns);
    if (slots_sweep_loans(slots, now_ns) || accounts_left) {
        slots_sweep_later(slots);
    }
}

/* --- for hops ----------------------------------------------------------------------------------
 */

mx_err slots_join(struct slots *slots, struct hop *hop)
{
    struct slot_account *account =
        account_of(slots, hash_checksum_next(hash_checksum(hop->route.name), hop->domain));
    if (account == NULL) {
        return MX_ERR_NOMEM;
    }
    hop->account = account;
    list_push_back(&account->hops, &hop->slot_node);
    return MX_OK;
}

void slots_leave(struct slots *slots, struct hop *hop)
{
    struct slot_account *account = hop->account;
    list_remove(&hop->slot_node);
    hop->account = NULL;
    account->left_ns = slots->d->shard->now_ns;
    if (hop->retired || list_empty(&account->hops)) {
        settle(slots, account);
    } /* else it was prepared for a configuration that is refused, and had nothing to do with it */
    bool told = account->lent == 0 && !list_linked(&account->untold_node);
    if (account->asked_ns == 0 && told && list_empty(&account->hops)) {
        account_free(slots, account); /* no loan can be on its way */
    }
}

static void quiet_until(struct slots *slots, uint64_t at_ns)
{
    if (!timer_armed(&slots->quiet)) {
        shard_after(slots->d->shard, &slots->quiet, at_ns - slots->d->shard->now_ns);
    }
}

bool slot_take(struct hop *hop)
{
    struct slots *slots = hop->deliver->slots;
    struct slot_account *account = hop->account;
    uint64_t now_ns = hop->deliver->shard->now_ns;
    if (account->used > 0 && now_ns < account->quiet_ns) {
        quiet_until(slots, account->quiet_ns);
        return false; /* the next hop may give no more than it does */
    }
    bool asks = !account->asked || now_ns >= account->asked_ns + SLOT_ASK_AGAIN_MS * MX_NS_PER_MS;
    if (account->used >= account->lent && asks) {
        account->asked = account->asks = true;
        account->full = false;
        account->asked_ns = now_ns;
        account->wants = hop->waiting_count > 1 ? hop->waiting_count : 1;
        report(slots, account);
    }
    if (account->used >= account->lent) {
        return false;
    }
    account->used++;
    return true;
}

void slot_give(struct hop *hop)
{
    MX_ASSERT(hop->account->used > 0);
    hop->account->used--;
}

void slots_settle(struct hop *hop)
{
    if (hop->account->lent > hop->account->used) {
        settle(hop->deliver->slots, hop->account);
    }
}

void slot_worked(struct hop *hop)
{
    struct slot_account *account = hop->account;
    account->successes++;
    if (account->asked && account->successes >= account->lent) {
        report(hop->deliver->slots, account);
    }
}

void slot_failed(struct hop *hop)
{
    struct slot_account *account = hop->account;
    account->failures++;
    account->quiet_ns = hop->deliver->shard->now_ns + SLOT_QUIET_MS * MX_NS_PER_MS;
    give_back(hop->deliver->slots, account, account->lent > account->used);
}

bool slot_is_wanting(const struct hop *hop)
{
    return hop->account->full && hop->account->used >= hop->account->lent;
}

bool slot_is_due(const struct hop *hop, uint64_t opened_ns, bool idle)
{
    const struct slot_account *account = hop->account;
    uint64_t now_ns = hop->deliver->shard->now_ns;
    return account->recalled > account->leaving &&
           (idle || now_ns >= opened_ns + SLOT_TERM_MS * MX_NS_PER_MS);
}

/* --- life --------------------------------------------------------------------------------------
 */

mx_err slots_open(struct slots **out_slots, struct deliver *d)
{
    struct slots *slots = calloc(1, sizeof *slots);
    if (slots == NULL) {
        return MX_ERR_NOMEM;
    }
    slots->d = d;
    slots->cores = d->shard->hub == NULL || d->shard->conf.count == 0 ? 1 : d->shard->conf.count;
    slots->self = slots->cores == 1 ? 0 : d->shard->conf.id;
    list_init(&slots->untold_accounts);
    list_init(&slots->untold_loans);
    list_init(&slots->kept);
    slots->again.fire = again_fire;
    slots->sweep.fire = sweep_fire;
    slots->quiet.fire = quiet_fire;
    *out_slots = slots;
    return MX_OK;
}

void slots_close(struct slots *slots)
{
    if (slots == NULL) {
        return;
    }
    wheel_cancel(&slots->d->shard->wheel, &slots->again);
    wheel_cancel(&slots->d->shard->wheel, &slots->sweep);
    wheel_cancel(&slots->d->shard->wheel, &slots->quiet);
    struct list_node *node;
    while ((node = list_pop_front(&slots->kept)) != NULL) {
        free(mx_container_of(node, struct loan_msg, node));
    }
    for (unsigned i = 0; i < SLOT_BUCKETS; i++) {
        while (slots->accounts[i] != NULL) {
            struct slot_account *account = slots->accounts[i];
            slots->accounts[i] = account->next;
            free(account);
        }
        while (slots->loans[i] != NULL) {
            struct loans *loans = slots->loans[i];
            slots->loans[i] = loans->next;
            free(loans);
        }
    }
    free(slots);
}
