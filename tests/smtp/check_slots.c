/* Slots of connections without memory, and without room in another core's mailbox. */
#include "tests/check.h"

#include "core/err.h"
#include "io/mbox.h"
#include "smtp/slots.h"

#include <stdlib.h>

static bool no_memory, no_room;
static unsigned sent;

static void *scarce(size_t count, size_t bytes)
{
    return no_memory ? NULL : calloc(count, bytes);
}

/* Another core, which answers nothing. */
static mx_err send(struct mbox_msg *msg)
{
    if (no_room) {
        return MX_ERR_AGAIN;
    }
    sent++;
    free(msg);
    return MX_OK;
}

#define calloc(count, bytes) scarce(count, bytes)
#define mbox_send(hub, from, to, msg) ((void)(from), (void)(to), send(msg))
#include "smtp/slots.c"
#include "smtp/slots_lend.c"
#undef calloc

enum { KEY = 7, CONNECTIONS = 16 };

static struct shard shard;
static struct deliver deliver;

static struct slots *begin(unsigned cores)
{
    struct slots *slots;
    shard = (struct shard){.now_ns = MX_NS_PER_S};
    deliver = (struct deliver){.shard = &shard, .performance.hop_connections = CONNECTIONS};
    wheel_init(&shard.wheel, shard.now_ns);
    CHECK(slots_open(&slots, &deliver) == MX_OK);
    slots->cores = cores;
    return slots;
}

/* A core asks and, before the loan comes, runs out of memory for its account. Nobody needs the
 * slots any more, so all of them come back; forgotten, they were lost until the process ended. */
static void loan_without_memory_comes_back(void)
{
    struct slots *slots = begin(1);
    const struct lending_report asks = {.asks = true, .wants = 3};
    struct loans *loans = loans_of(slots, KEY);
    CHECK(loans != NULL);
    no_memory = true;
    slots_report(slots, KEY, 0, &asks);
    CHECK(loans->lending.lent > 0 && account_find(slots, KEY) == NULL);
    again_fire(&slots->again, shard.now_ns);
    CHECK(loans->lending.lent > 0 && account_find(slots, KEY) == NULL);
    no_memory = false;
    again_fire(&slots->again, shard.now_ns);
    CHECK(account_find(slots, KEY) != NULL && account_find(slots, KEY)->lent == 0);
    CHECK(loans->lending.lent == 0);
    slots_close(slots);
}

/* The same for a loan of another core. */
static void loan_message_without_memory_waits(void)
{
    struct slots *slots = begin(2);
    struct loan_msg *loan = calloc(1, sizeof *loan);
    CHECK(loan != NULL);
    loan->key = KEY;
    loan->loan.granted = 2;
    no_memory = true;
    loan_take(slots, loan);
    CHECK(!list_empty(&slots->kept));
    no_memory = false;
    sent = 0;
    again_fire(&slots->again, shard.now_ns);
    CHECK(list_empty(&slots->kept) && sent == 1 && account_find(slots, KEY)->lent == 0);
    slots_close(slots);
}

/* What it gives back waits for room in the lender's mailbox: the account stays as long as that. */
static void account_that_has_to_tell_stays(void)
{
    struct slots *slots = begin(2);
    struct hop hop = {.deliver = &deliver, .route.name = SLICE_LITERAL("relay")};
    uint64_t key = hash_checksum_next(hash_checksum(hop.route.name), hop.domain);
    slots->self = lender_of(slots, key) == 0 ? 1 : 0;
    no_room = true;
    CHECK(slots_loan(slots, key,
                     (struct loan_untold){.granted = 2})); /* nobody is here who needs it */
    struct slot_account *account = account_find(slots, key);
    CHECK(account != NULL && account->returned == 2 && list_linked(&account->untold_node));
    CHECK(slots_join(slots, &hop) == MX_OK);
    slots_leave(slots, &hop);
    CHECK(account_find(slots, key) == account);
    no_room = false;
    sent = 0;
    again_fire(&slots->again, shard.now_ns);
    CHECK(sent == 1 && account->returned == 0 && list_empty(&slots->untold_accounts));
    slots_close(slots);
}

int main(void)
{
    loan_without_memory_comes_back();
    loan_message_without_memory_waits();
    account_that_has_to_tell_stays();
    return 0;
}
