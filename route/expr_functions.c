/* The functions of the language: the table, and those about addresses and what the host knows.
 * Those about texts are in expr_text.c, those about arrays in expr_arrays.c. */
#include "core/netaddr.h"
#include "core/text.h"
#include "route/expr_give.h"

#include <stdatomic.h>

/* --- what the host knows -----------------------------------------------------------------------
 */

bool expr_f_is_local_domain(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice s;
    return expr_to_text(vm, a, &s) && give_bool(out, vm->host->is_local_domain(vm->host->arg, s));
}

bool expr_f_is_local_address(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice s;
    return expr_to_text(vm, a, &s) && give_bool(out, vm->host->is_local_address(vm->host->arg, s));
}

bool expr_f_system(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice name;
    uint64_t number;
    if (!expr_to_text(vm, a, &name)) {
        return false;
    }
    struct slice value = vm->host->system(vm->host->arg, name);
    bool is_number =
        slice_equal(name, SLICE_LITERAL("node_id")) && text_to_u64(&number, value) == MX_OK;
    return is_number ? give_int(out, (int64_t)number) : give_text(out, value);
}

bool expr_f_metric(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    const struct expr_metrics *metrics = vm->metrics;
    struct slice name;
    if (!expr_to_text(vm, a, &name)) {
        return false;
    }
    unsigned metric = expr_metric_find(name);
    if (metrics == NULL || metric == EXPR_METRICS ||
        !atomic_load_explicit(&metrics->collected, memory_order_acquire)) {
        return expr_fail(vm, "statistics have not been collected yet");
    }
    return give_int(out, atomic_load_explicit(&metrics->values[metric], memory_order_relaxed));
}

bool expr_f_hash(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[EXPR_DIGEST_MAX];
    struct slice text, algorithm;
    if (!expr_to_text(vm, &a[0], &text) || !expr_to_text(vm, &a[1], &algorithm) ||
        !expr_spend(vm, 8 + text.len / 16)) {
        return false;
    }
    size_t len = vm->host->digest(vm->host->arg, algorithm, text, digest);
    uint8_t *hex = expr_scratch(vm, 2 * len);
    for (size_t i = 0; hex != NULL && i < len; i++) {
        hex[2 * i] = (uint8_t)digits[digest[i] >> 4];
        hex[2 * i + 1] = (uint8_t)digits[digest[i] & 15];
    }
    return hex != NULL && give_text(out, slice_of(hex, 2 * len));
}

/* --- addresses ---------------------------------------------------------------------------------
 */

/* Behind the last "@"; 0: there is none. */
static size_t last_at(struct slice s)
{
    size_t at = s.len;
    while (at > 0 && s.ptr[at - 1] != '@') {
        at--;
    }
    return at;
}

bool expr_f_is_email(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice s;
    if (!expr_to_text(vm, a, &s)) {
        return false;
    }
    size_t at = last_at(s);
    return give_bool(out, at > 1 && at < s.len);
}

bool expr_f_email_part(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice s, part;
    if (!two_texts(vm, a, &s, &part)) {
        return false;
    }
    size_t at = last_at(s);
    if (at == 0) {
        return give_text(out, SLICE_EMPTY);
    }
    bool local = slice_equal(part, SLICE_LITERAL("local"));
    return give_text(out, local ? slice_first(s, at - 1) : slice_from(s, at));
}

static bool ip_of_family(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out,
                         uint8_t family)
{
    struct slice s;
    struct netaddr addr;
    return expr_to_text(vm, a, &s) && give_bool(out, netaddr_parse(&addr, s) == MX_OK &&
                                                         (family == 0 || addr.family == family));
}

bool expr_f_is_ip_addr(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    return ip_of_family(vm, a, out, 0);
}

bool expr_f_is_ipv4_addr(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    return ip_of_family(vm, a, out, 4);
}

bool expr_f_is_ipv6_addr(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    return ip_of_family(vm, a, out, 6);
}

bool expr_f_is_ip_in_cidr(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    struct slice ip, network;
    struct netaddr addr;
    struct netmask mask;
    return two_texts(vm, a, &ip, &network) &&
           give_bool(out, netaddr_parse(&addr, ip) == MX_OK &&
                              netmask_parse(&mask, network) == MX_OK &&
                              netmask_contains(&mask, &addr));
}

bool expr_f_ip_reverse_name(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    static const char digits[] = "0123456789abcdef";
    struct slice s;
    struct netaddr addr;
    if (!expr_to_text(vm, a, &s)) {
        return false;
    }
    if (netaddr_parse(&addr, s) != MX_OK) {
        return give_text(out, SLICE_EMPTY);
    }
    uint8_t *at = expr_scratch(vm, 64);
    if (at == NULL) {
        return false;
    }
    struct writer w = writer_init(at, 64);
    for (int i = addr.family == 4 ? 3 : 15; i >= 0; i--) {
        if (addr.family == 4) {
            put_decimal(&w, addr.bytes[i]);
        } else {
            put_char(&w, digits[addr.bytes[i] & 15]);
            put_char(&w, '.');
            put_char(&w, digits[addr.bytes[i] >> 4]);
        }
        put_text(&w, i > 0 ? "." : "");
    }
    return give_text(out, writer_slice(&w));
}

/* --- any values --------------------------------------------------------------------------------
 */

bool expr_f_is_empty(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    (void)vm;
    bool empty =
        a->type == EXPR_STRING ? a->string.len == 0 : a->type == EXPR_ARRAY && a->array.count == 0;
    return give_bool(out, empty);
}

bool expr_f_is_number(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    (void)vm;
    return give_bool(out, expr_is_numeric(a));
}

bool expr_f_if_then(struct expr_vm *vm, const struct expr_value *a, struct expr_value *out)
{
    (void)vm;
    *out = expr_truthy(&a[0]) ? a[1] : a[2];
    return true;
}

/* --- the table ---------------------------------------------------------------------------------
 */

#define PURE(function, arguments, count, text)                                           \
    {                                                                                    \
        .name = #function, .params = arguments, .argc = count, .run = expr_f_##function, \
        .description = text                                                              \
    }
#define WORDS(function, arguments, count, list, text)                         \
    {                                                                         \
        .name = #function, .params = arguments, .argc = count, .words = list, \
        .run = expr_f_##function, .description = text                         \
    }
#define HOST(function, arguments, count, list, text)                                        \
    {                                                                                       \
        .name = #function, .params = arguments, .argc = count, .host = true, .words = list, \
        .run = expr_f_##function, .description = text                                       \
    }
/* Of a store: that of the process is asked. */
#define STORE(function, arguments, count, kind, ...)                        \
    {                                                                       \
        .name = function, .params = arguments, .argc = count, .host = true, \
        .ask = EXPR_ASK_##kind, .store = true, __VA_ARGS__                  \
    }

static const char metric_names[] =
#define METRIC(id, name, description) name " "
#include "route/expr_metric.def"
#undef METRIC
    ;

static const struct expr_metric_row metrics[EXPR_METRICS] = {
#define METRIC(id, name, description) [EXPR_METRIC_##id] = {name, description},
#include "route/expr_metric.def"
#undef METRIC
};

static const struct expr_function functions[] = {
    HOST(is_local_domain, "domain", 1, NULL, "is it a domain of this server, or an alias of one?"),
    HOST(is_local_address, "address", 1, NULL,
         "does the resolver find an account, group, list or alias for it? Case and tag do not "
         "matter; no catch-all"),
    PURE(is_email, "text", 1, "does it look like an address?"),
    WORDS(email_part, "address part", 2, "local domain", "one side of the last @"),
    PURE(is_ip_addr, "text", 1, "is it an IP address?"),
    PURE(is_ipv4_addr, "text", 1, "is it an IPv4 address?"),
    PURE(is_ipv6_addr, "text", 1, "is it an IPv6 address?"),
    {.name = "is_ip_in_cidr",
     .params = "address network",
     .argc = 2,
     .network = true,
     .run = expr_f_is_ip_in_cidr,
     .description = "is the address in the network? What is known when it is compiled has to be "
                    "one; what only later turns out to be none contains no address"},
    PURE(ip_reverse_name, "address", 1,
         "its bytes (IPv6: digits) backwards with dots, as block lists are asked; '' for anything "
         "else"),
    {.name = "matches",
     .params = "pattern text",
     .argc = 2,
     .description =
         "searches a regular expression (PCRE2; in quotes); sets $0 (what matched) and $1 to $31 "
         "(its groups), which stay until the next search, also in the \"then\""},
    PURE(is_empty, "value", 1, "is it '' or []?"),
    PURE(is_number, "value", 1, "is it a number, or a string that is one?"),
    PURE(if_then, "condition a b", 3, "a if the condition is true, else b; both are evaluated"),
    PURE(len, "value", 1, "bytes of a string, items of an array"),
    PURE(count_chars, "text", 1, "characters (UTF-8)"),
    PURE(count_spaces, "text", 1, "spaces, tabs and line ends"),
    PURE(count_uppercase, "text", 1, "letters A to Z"),
    PURE(count_lowercase, "text", 1, "letters a to z"),
    PURE(to_lowercase, "text", 1, "A to Z made a to z"),
    PURE(to_uppercase, "text", 1, "a to z made A to Z"),
    PURE(is_lowercase, "text", 1, "is there no letter A to Z?"),
    PURE(is_uppercase, "text", 1, "is there no letter a to z?"),
    PURE(has_digits, "text", 1, "is there a digit?"),
    PURE(trim, "text", 1, "without spaces, tabs and line ends at both ends"),
    PURE(trim_start, "text", 1, "the same at the beginning"),
    PURE(trim_end, "text", 1, "the same at the end"),
    PURE(contains, "in what", 2, "is the text in the other, or among an array's items?"),
    PURE(contains_ignore_case, "in what", 2, "the same without regard to case"),
    PURE(eq_ignore_case, "a b", 2, "equal without regard to case"),
    PURE(starts_with, "text prefix", 2, "does it begin so?"),
    PURE(ends_with, "text suffix", 2, "does it end so?"),
    PURE(strip_prefix, "text prefix", 2, "what follows the prefix; '' without it"),
    PURE(strip_suffix, "text suffix", 2, "what is before the suffix; '' without it"),
    PURE(substring, "text start length", 3, "characters from start (0 is the first)"),
    PURE(lines, "text", 1, "its lines as an array, without their ends"),
    PURE(split, "text delimiter", 2, "the pieces as an array; the whole when the delimiter is ''"),
    PURE(rsplit, "text delimiter", 2, "the same from the end: the last piece comes first"),
    PURE(split_n, "text delimiter n", 3, "at most n pieces; the last one has the rest"),
    PURE(split_once, "text delimiter", 2, "[before, behind] the first delimiter; '' without one"),
    PURE(rsplit_once, "text delimiter", 2, "[before, behind] the last delimiter; '' without one"),
    PURE(split_words, "text", 1,
         "the words between blanks that consist of letters and digits alone"),
    PURE(count, "array", 1, "items of an array; of anything else 1, of '' 0"),
    PURE(sort, "array ascending", 2, "the array in order"),
    PURE(dedup, "array", 1, "without items whose text came before"),
    PURE(winnow, "array", 1, "without empty items"),
    PURE(is_intersect, "a b", 2, "do the arrays share an item's text?"),
    HOST(hash, "text algorithm", 2, "md5 sha1 sha256 sha512", "digest in hexadecimal"),
    HOST(system, "name", 1, "hostname domain node_id node_hostname node_role",
         "name of this server, its default domain; of this machine: the number that ids of objects "
         "contain, the host name, and '', as there are no roles"),
    HOST(metric, "name", 1, metric_names,
         "value of a statistic, of all cores together, at most a second old; the names are below"),
    STORE("key_get", "store key", 2, KEY, .lists = true,
          .description = "value of a key: '' when the store does not have it, 1 when a list has it "
                         "without a value"),
    STORE("key_exists", "store key", 2, KEY, .lists = true,
          .description = "does the store have the key?"),
    STORE("key_set", "store key value", 3, CHANGE, .changes = true,
          .description = "gives a key of the store '*' a value (no array); 1"),
    STORE("counter_get", "store key", 2, KEY,
          .description = "value of a counter of the store '*'; 0 when there is none"),
    STORE("counter_incr", "store key n", 3, CHANGE, .changes = true, .shorter = true,
          .description = "adds n (left out: 1) to a counter of the store '*'; its new value"),
    {.name = "dns_query",
     .params = "name type",
     .argc = 2,
     .host = true,
     .ask = EXPR_ASK_DNS,
     .words = "ip ipv4 ipv6 mx txt ptr",
     .description = "the records as an array; [] when there are none"},
    {.name = "sql_query",
     .params = "store query arguments",
     .argc = 3,
     .host = true,
     .absent = "there are no SQL stores",
     .description = ""},
};

const struct expr_function *expr_function_row(uint32_t index)
{
    return index < mx_countof(functions) ? &functions[index] : NULL;
}

uint32_t expr_function_find(struct slice name)
{
    for (uint32_t i = 0; i < mx_countof(functions); i++) {
        if (slice_equal(name, slice_of_text(functions[i].name))) {
            return i;
        }
    }
    return UINT32_MAX;
}

const struct expr_metric_row *expr_metric_row(unsigned metric)
{
    return metric < EXPR_METRICS ? &metrics[metric] : NULL;
}

unsigned expr_metric_find(struct slice name)
{
    unsigned metric = 0;
    while (metric < EXPR_METRICS && !slice_equal(name, slice_of_text(metrics[metric].name))) {
        metric++;
    }
    return metric;
}
