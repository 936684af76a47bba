#include "smtp/mx_choice.h"

#include <criterion/criterion.h>
#include <stdlib.h>

struct host {
    unsigned preference;
    const char *name;
};

static struct mx_choice choose(const struct host *hosts, size_t count, unsigned max,
                               uint64_t random)
{
    static union {
        struct dns_answer answer;
        uint8_t room[sizeof(struct dns_answer) + DNS_ANSWER_BYTES];
    } memory;
    struct writer w = writer_init(memory.answer.bytes, DNS_ANSWER_BYTES);
    struct mx_choice choice;
    for (size_t i = 0; i < count; i++) {
        put_u16(&w, (uint16_t)hosts[i].preference);
        put_slice16(&w, slice_of_text(hosts[i].name));
    }
    memory.answer.len = (uint16_t)w.len;
    mx_choose(&choice, &memory.answer, SLICE_LITERAL("mx.own.example"), max, random);
    return choice;
}

#define CHOOSE(max, ...)                 \
    choose((struct host[]){__VA_ARGS__}, \
           sizeof((struct host[]){__VA_ARGS__}) / sizeof(struct host), max, 1)

static bool is(const struct mx_choice *choice, unsigned at, const char *name)
{
    return at < choice->count && slice_equal(choice->hosts[at].name, slice_of_text(name));
}

Test(mx_choice, by_preference)
{
    struct mx_choice c = CHOOSE(10, {30, "c"}, {10, "a"}, {20, "b"});
    cr_assert(c.verdict == MX_HOSTS && c.count == 3 && is(&c, 0, "a") && is(&c, 1, "b") &&
              is(&c, 2, "c"));
    c = CHOOSE(2, {30, "c"}, {10, "a"}, {20, "b"});
    cr_assert(c.count == 2 && is(&c, 1, "b"));
}

Test(mx_choice, equal_ones_are_shuffled)
{
    unsigned first[2] = {0, 0};
    for (uint64_t random = 0; random < 1000; random++) {
        struct mx_choice c = choose((struct host[]){{5, "a"}, {5, "b"}, {9, "z"}}, 3, 10, random);
        cr_assert(c.count == 3 && is(&c, 2, "z"));
        first[is(&c, 0, "b")]++;
    }
    cr_assert(first[0] > 300 && first[1] > 300, "%u %u", first[0], first[1]);
}

/* Said of both, also when one of them is left out, or is us. */
Test(mx_choice, equal_ones_are_told)
{
    struct mx_choice c = CHOOSE(10, {5, "a"}, {7, "b"}, {7, "c"}, {9, "d"});
    cr_assert(c.count == 4 && !c.hosts[0].shares && c.hosts[1].shares && c.hosts[2].shares &&
              !c.hosts[3].shares);
    c = CHOOSE(2, {5, "a"}, {7, "b"}, {7, "c"});
    cr_assert(c.count == 2 && !c.hosts[0].shares && c.hosts[1].shares);
    c = CHOOSE(10, {5, "a"}, {7, "b"}, {7, "mx.own.example"});
    cr_assert(c.count == 1 && !c.hosts[0].shares);
    c = CHOOSE(10, {5, "a"}, {5, "A"});
    cr_assert(c.count == 1 && !c.hosts[0].shares);
}

Test(mx_choice, a_host_counts_once_with_its_best_preference)
{
    struct mx_choice c = CHOOSE(10, {30, "a"}, {20, "b"}, {10, "A"}, {40, "a"});
    cr_assert(c.count == 2 && is(&c, 0, "A") && is(&c, 1, "b"));
}

Test(mx_choice, nobody)
{
    struct mx_choice c = CHOOSE(10, {0, ""});
    cr_assert(c.verdict == MX_NULL && c.count == 0);
    c = CHOOSE(10, {0, ""}, {10, "a"}); /* not a null MX: RFC 7505 section 3 */
    cr_assert(c.verdict == MX_HOSTS && c.count == 1 && is(&c, 0, "a"));
    c = choose(NULL, 0, 10, 1);
    cr_assert_eq(c.verdict, MX_IMPLICIT);
}

Test(mx_choice, own_host_cuts)
{
    struct mx_choice c = CHOOSE(10, {10, "a"}, {20, "b"}, {20, "MX.own.example"}, {30, "c"});
    cr_assert(c.verdict == MX_HOSTS && c.count == 1 && is(&c, 0, "a"));
    c = CHOOSE(10, {10, "mx.own.example"}, {10, "a"}, {30, "c"});
    cr_assert(c.verdict == MX_LOOP && c.count == 0);
}

Test(mx_choice, more_than_fit)
{
    static char names[100][8];
    struct host hosts[100];
    for (unsigned i = 0; i < 100; i++) {
        struct writer w = writer_init(names[i], sizeof names[i] - 1);
        put_text(&w, "h");
        put_decimal(&w, i);
        hosts[i] = (struct host){100 - i, names[i]};
    }
    struct mx_choice c = choose(hosts, 100, MX_HOSTS_MAX, 1);
    cr_assert(c.count == MX_HOSTS_MAX && is(&c, 0, "h99") && is(&c, 9, "h90"));
}
