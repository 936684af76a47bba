#include "smtp/verify_cache.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { DOMAIN = 7, ROUTE = 2, NOW = 1000, LATER = 5000 };

static struct verify_key key(const char *address)
{
    return (struct verify_key){
        .domain_id = DOMAIN, .route = ROUTE, .address = slice_of_text(address)};
}

static enum verify_answer find(const struct verify_cache *cache, struct verify_key k)
{
    uint64_t until;
    return verify_cache_find(cache, &k, NOW, &until);
}

static void keep(struct verify_cache *cache, struct verify_key k, enum verify_answer answer)
{
    verify_cache_keep(cache, &k, answer, NOW, LATER);
}

/* An answer is for one address, domain and route, for its time; the domain's case does not matter,
 * that of the local part does. */
Test(verify_cache, exact)
{
    struct verify_cache cache;
    verify_cache_init(&cache, 1, 64);
    cr_assert_eq(find(&cache, key("bob@x.example")), VERIFY_LATER);
    cr_assert_eq(verify_cache_bytes(&cache), 0);
    keep(&cache, key("bob@x.example"), VERIFY_ACCEPTED);
    cr_assert_eq(verify_cache_bytes(&cache), 64 * 120);
    cr_assert_eq(find(&cache, key("bob@x.example")), VERIFY_ACCEPTED);
    cr_assert_eq(find(&cache, key("bob@X.Example")), VERIFY_ACCEPTED);
    cr_assert_eq(find(&cache, key("Bob@x.example")), VERIFY_LATER);
    cr_assert_eq(find(&cache, key("bob@y.example")), VERIFY_LATER);
    cr_assert_eq(find(&cache, key("bob+tag@x.example")), VERIFY_LATER);
    struct verify_key other = key("bob@x.example");
    other.route++;
    cr_assert_eq(find(&cache, other), VERIFY_LATER);
    other = key("bob@x.example");
    other.domain_id++;
    cr_assert_eq(find(&cache, other), VERIFY_LATER);
    keep(&cache, key("bob@x.example"), VERIFY_REFUSED);
    uint64_t until = 0;
    struct verify_key bob = key("bob@x.example");
    cr_assert_eq(verify_cache_find(&cache, &bob, LATER - 1, &until), VERIFY_REFUSED);
    cr_assert_eq(until, LATER);
    cr_assert_eq(verify_cache_find(&cache, &bob, LATER, &until), VERIFY_LATER);
    verify_cache_fini(&cache);
}

/* A full set gives up what ends first; nothing is ever found under another name. */
Test(verify_cache, bounded)
{
    struct verify_cache cache;
    char address[64];
    verify_cache_init(&cache, 2, 0);
    cr_assert_eq(cache.sets_wanted, 1);
    for (unsigned i = 0; i < 3 * VERIFY_WAYS; i++) {
        snprintf(address, sizeof address, "n%u@x.example", i);
        struct verify_key k = key(address);
        verify_cache_keep(&cache, &k, i % 2 ? VERIFY_ACCEPTED : VERIFY_REFUSED, NOW, LATER + i);
    }
    cr_assert_eq(verify_cache_bytes(&cache), VERIFY_WAYS * 120);
    for (unsigned i = 0; i < 3 * VERIFY_WAYS; i++) {
        snprintf(address, sizeof address, "n%u@x.example", i);
        enum verify_answer right = i % 2 ? VERIFY_ACCEPTED : VERIFY_REFUSED;
        cr_assert_eq(find(&cache, key(address)), i < 2 * VERIFY_WAYS ? VERIFY_LATER : right);
    }
    char longest[VERIFY_KEPT_TEXT_MAX + 2];
    memset(longest, 'l', sizeof longest);
    memcpy(longest + VERIFY_KEPT_TEXT_MAX - 9, "@x.example", 11);
    keep(&cache, key(longest), VERIFY_ACCEPTED); /* one byte too many */
    cr_assert_eq(strlen(longest), VERIFY_KEPT_TEXT_MAX + 1);
    cr_assert_eq(find(&cache, key(longest)), VERIFY_LATER);
    keep(&cache, key(longest + 1), VERIFY_ACCEPTED);
    cr_assert_eq(find(&cache, key(longest + 1)), VERIFY_ACCEPTED);
    verify_cache_resize(&cache, VERIFY_WAYS);
    cr_assert_eq(find(&cache, key(longest + 1)), VERIFY_ACCEPTED);
    verify_cache_resize(&cache, 4 * VERIFY_WAYS);
    cr_assert_eq(find(&cache, key(longest + 1)), VERIFY_LATER);
    verify_cache_fini(&cache);
}

/* A change of one address drops its answers, with any tag and in any case, and no others. */
Test(verify_cache, forgets)
{
    static const char *const about[] = {"bob@x.example", "Bob@x.example", "BOB+tag@x.example",
                                        "bob+@alias.example"};
    static const char *const others[] = {"bobby@x.example", "bo@x.example", "carol@x.example"};
    struct verify_cache cache;
    verify_cache_init(&cache, 3, 4096);
    verify_cache_forget(&cache, DOMAIN, SLICE_LITERAL("bob")); /* nothing is kept yet */
    for (size_t i = 0; i < mx_countof(about); i++) {
        keep(&cache, key(about[i]), VERIFY_REFUSED);
    }
    for (size_t i = 0; i < mx_countof(others); i++) {
        keep(&cache, key(others[i]), VERIFY_REFUSED);
    }
    verify_cache_forget(&cache, DOMAIN + 1, SLICE_LITERAL("bob"));
    for (size_t i = 0; i < mx_countof(about); i++) {
        cr_assert_eq(find(&cache, key(about[i])), VERIFY_REFUSED, "%s", about[i]);
    }
    verify_cache_forget(&cache, DOMAIN, SLICE_LITERAL("bob"));
    for (size_t i = 0; i < mx_countof(about); i++) {
        cr_assert_eq(find(&cache, key(about[i])), VERIFY_LATER, "%s", about[i]);
    }
    keep(&cache, key("a+b@x.example"), VERIFY_REFUSED);
    verify_cache_forget(&cache, DOMAIN, SLICE_LITERAL("a+b")); /* an account with a plus in it */
    cr_assert_eq(find(&cache, key("a+b@x.example")), VERIFY_LATER);
    for (size_t i = 0; i < mx_countof(others); i++) {
        cr_assert_eq(find(&cache, key(others[i])), VERIFY_REFUSED, "%s", others[i]);
    }
    verify_cache_forget_all(&cache);
    for (size_t i = 0; i < mx_countof(others); i++) {
        cr_assert_eq(find(&cache, key(others[i])), VERIFY_LATER, "%s", others[i]);
    }
    verify_cache_fini(&cache);
}
