#include "smtp/hop.h"
#include "smtp/lending.h"
#include "smtp/slots.h"

#include <criterion/criterion.h>

/* One core, which lends to itself. */
struct world {
    struct shard shard;
    struct deliver deliver;
    struct hop living;
};

static void setup(struct world *world)
{
    *world = (struct world){.shard.now_ns = MX_NS_PER_S};
    wheel_init(&world->shard.wheel, world->shard.now_ns);
    world->deliver.shard = &world->shard;
    world->deliver.performance.hop_connections = 16;
    world->living = (struct hop){.deliver = &world->deliver, .route.name = SLICE_LITERAL("relay")};
    cr_assert_eq(slots_open(&world->deliver.slots, &world->deliver), MX_OK);
    cr_assert_eq(slots_join(world->deliver.slots, &world->living), MX_OK);
}

/* The hop has slots, one of them with nothing to do. */
static void lend(struct world *world)
{
    struct slot_account *account = world->living.account;
    world->living.waiting_count = 8;
    while (account->lent < account->used + 1 || account->used == 0) {
        cr_assert(slot_take(&world->living));
        slot_worked(&world->living);
    }
    world->living.waiting_count = 0;
    cr_assert_gt(account->used, 0);
    cr_assert_gt(account->lent, account->used);
}

static void leaves(struct world *world, bool retired)
{
    struct hop other = {.deliver = &world->deliver, .route.name = SLICE_LITERAL("relay")};
    cr_assert_eq(slots_join(world->deliver.slots, &other), MX_OK);
    cr_assert_eq(other.account, world->living.account, "one name, two accounts");
    other.retired = retired;
    slots_leave(world->deliver.slots, &other);
}

/* A hop that was prepared for a configuration that is refused leaves the account of its name as it
 * was. */
Test(slots, refused_hop_changes_no_account)
{
    static struct world world;
    setup(&world);
    lend(&world);
    struct slot_account before = *world.living.account;
    leaves(&world, false);
    cr_assert_eq(world.living.account->lent, before.lent, "slots of another hop were given back");
    cr_assert_eq(world.living.account->used, before.used);
    slots_close(world.deliver.slots);
}

/* One that was in force gives back what nobody needs any more. */
Test(slots, retired_hop_gives_back)
{
    static struct world world;
    setup(&world);
    lend(&world);
    leaves(&world, true);
    cr_assert_eq(world.living.account->lent, world.living.account->used);
    slots_close(world.deliver.slots);
}

/* So does the last one. */
Test(slots, last_hop_gives_back_all)
{
    static struct world world;
    setup(&world);
    lend(&world);
    struct slot_account *account = world.living.account;
    while (account->used > 0) {
        slot_give(&world.living);
    }
    slots_leave(world.deliver.slots, &world.living);
    cr_assert_eq(account->lent, 0);
    slots_close(world.deliver.slots);
}

/* Who has all that there is knows it, until there is more; then a connection can only take the
 * place of another. */
Test(slots, knows_that_there_are_no_more)
{
    static struct world world;
    setup(&world);
    world.living.waiting_count = 100;
    cr_assert(!slot_is_wanting(&world.living), "nothing was asked for");
    unsigned taken = 0;
    while (slot_take(&world.living)) {
        taken++;
    }
    cr_assert_eq(taken, LENDING_FIRST, "what nothing is known of begins small");
    cr_assert(slot_is_wanting(&world.living), "it was not told");
    cr_assert(world.shard.again, "nobody looks at the hop");
    for (unsigned i = 0; i < taken; i++) {
        slot_worked(&world.living);
    }
    cr_assert(!slot_is_wanting(&world.living), "there is one more");
    cr_assert(slot_take(&world.living));
    cr_assert(!slot_take(&world.living));
    cr_assert(slot_is_wanting(&world.living));
    slot_give(&world.living);
    cr_assert(!slot_is_wanting(&world.living), "one is free");
    slots_close(world.deliver.slots);
}

/* After a failure a connection is tried again when the pause is over, by itself. */
Test(slots, looks_again_after_a_pause)
{
    static struct world world;
    setup(&world);
    world.living.waiting_count = 100;
    cr_assert(slot_take(&world.living));
    cr_assert(slot_take(&world.living));
    slot_give(&world.living);
    slot_failed(&world.living);
    cr_assert(!slot_take(&world.living), "within the pause");
    world.shard.again = false;
    world.shard.now_ns += (SLOT_QUIET_MS + 1) * MX_NS_PER_MS;
    (void)wheel_advance(&world.shard.wheel, world.shard.now_ns, 8);
    cr_assert(world.shard.again, "nobody looks at the hop");
    cr_assert(slot_take(&world.living));
    slots_close(world.deliver.slots);
}
