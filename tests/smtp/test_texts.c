#include "core/hash.h"
#include "smtp/texts.h"

#include <criterion/criterion.h>
#include <stdio.h>

static char made[64];

static struct slice text_of(unsigned number)
{
    int len = snprintf(made, sizeof made, "450 4.2.0 try again later, ticket %u", number);
    return slice_of(made, (size_t)len);
}

Test(texts, shared_and_dropped)
{
    struct texts texts;
    cr_assert(texts_init(&texts) == MX_OK);
    text_id a = texts_hold(&texts, text_of(1));
    text_id b = texts_hold(&texts, text_of(1));
    text_id c = texts_hold(&texts, text_of(2));
    cr_assert(a != 0 && a == b && c != 0 && c != a);
    cr_assert(slice_equal(texts_get(&texts, c), text_of(2)));
    texts_drop(&texts, a);
    cr_assert(slice_equal(texts_get(&texts, b), text_of(1)));
    texts_drop(&texts, b);
    texts_drop(&texts, c);
    cr_assert_eq(texts.bytes, 0);
    texts_fini(&texts);
}

/* A next hop can answer every message with another text, all of one slot: those behind the bound
 * are not kept, so that nobody walks through them; the ones before are, and others. */
Test(texts, chosen_to_meet)
{
    static text_id kept[TEXTS_CHAIN_MAX];
    const uint64_t slot = hash_checksum(text_of(0)) % TEXTS_SLOTS;
    unsigned count = 0, over = 0, elsewhere = 0;
    struct texts texts;
    cr_assert(texts_init(&texts) == MX_OK);
    for (unsigned number = 0; over < 3; number++) {
        if (hash_checksum(text_of(number)) % TEXTS_SLOTS != slot) {
            elsewhere = number;
            continue;
        }
        text_id id = texts_hold(&texts, text_of(number));
        if (count < TEXTS_CHAIN_MAX) {
            cr_assert(id != 0, "%u", number);
            kept[count++] = id;
        } else {
            cr_assert_eq(id, 0);
            over++;
        }
    }
    cr_assert_eq(texts_hold(&texts, text_of(0)), kept[0]);
    cr_assert(texts_hold(&texts, text_of(elsewhere)) != 0);
    texts_drop(&texts, kept[1]);
    cr_assert(texts_hold(&texts, slice_of(made, 0)) == 0);
    texts_fini(&texts);
}
