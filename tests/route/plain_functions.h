/* The functions of the language a second time, by what the reference page says of them. What the
 * host answers (domains, digests, lists, keys) is said again too: it is that of expr_support.h. */
#pragma once

#include <arpa/inet.h>

/* --- texts -------------------------------------------------------------------------------------
 */

static struct slice plain_cut(struct slice s, size_t from, size_t to)
{
    return slice_of(s.ptr + from, to - from);
}

static bool plain_blank_char(int c)
{
    return c == ' ' || (c >= 9 && c <= 13);
}

static int plain_lower(int c)
{
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

static int plain_upper(int c)
{
    return c >= 'a' && c <= 'z' ? c - 32 : c;
}

static struct slice plain_case(struct slice s, int (*change)(int c))
{
    unsigned char *text = plain_take(s.len + 1);
    for (size_t i = 0; i < s.len; i++) {
        text[i] = (unsigned char)change(s.ptr[i]);
    }
    return slice_of(text, s.len);
}

static size_t plain_find(struct slice in, struct slice what)
{
    for (size_t at = 0; at + what.len <= in.len; at++) {
        if (what.len == 0 || memcmp(in.ptr + at, what.ptr, what.len) == 0) {
            return at;
        }
    }
    return SIZE_MAX;
}

static size_t plain_find_last(struct slice in, struct slice what)
{
    size_t found = SIZE_MAX;
    for (size_t at = 0; what.len > 0 && at + what.len <= in.len; at++) {
        found = memcmp(in.ptr + at, what.ptr, what.len) == 0 ? at : found;
    }
    return found;
}

static int64_t plain_count(struct slice s, const char *what)
{
    int64_t count = 0;
    for (size_t i = 0; i < s.len; i++) {
        int c = s.ptr[i];
        count += strcmp(what, "chars") == 0    ? (c & 0xc0) != 0x80
                 : strcmp(what, "spaces") == 0 ? plain_blank_char(c)
                 : strcmp(what, "upper") == 0  ? plain_lower(c) != c
                 : strcmp(what, "lower") == 0  ? plain_upper(c) != c
                                               : c >= '0' && c <= '9';
    }
    return count;
}

static struct expr_value plain_trim(struct slice s, bool start, bool end)
{
    while (start && s.len > 0 && plain_blank_char(s.ptr[0])) {
        s = plain_cut(s, 1, s.len);
    }
    while (end && s.len > 0 && plain_blank_char(s.ptr[s.len - 1])) {
        s.len--;
    }
    return plain_slice(s);
}

static int64_t plain_whole(struct expr_value v)
{
    double number = trunc(plain_double(v));
    return number > 9e18 ? INT64_MAX : number < -9e18 ? INT64_MIN : (int64_t)number;
}

/* By marking where characters begin. */
static struct expr_value plain_substring(struct slice s, int64_t start, int64_t length)
{
    unsigned char *text = plain_take(s.len + 1);
    size_t len = 0;
    int64_t character = -1;
    start = start < 0 ? 0 : start;
    length = length < 0 ? 0 : length;
    for (size_t i = 0; i < s.len; i++) {
        character += i == 0 || (s.ptr[i] & 0xc0) != 0x80;
        if (character >= start && character - start < length) {
            text[len++] = s.ptr[i];
        }
    }
    return plain_slice(slice_of(text, len));
}

/* --- arrays ------------------------------------------------------------------------------------
 */

static bool plain_has(struct expr_value array, struct slice text)
{
    for (uint32_t i = 0; i < array.array.count; i++) {
        if (slice_equal(plain_shown(array.array.items[i]), text)) {
            return true;
        }
    }
    return false;
}

static struct expr_value plain_filter(struct expr_value v, bool dedup)
{
    struct expr_value x = plain_items(v);
    struct expr_value *items = plain_take(x.array.count * sizeof *items);
    struct expr_value out = {.type = EXPR_ARRAY, .array = {items, 0}};
    for (uint32_t i = 0; i < x.array.count; i++) {
        struct expr_value item = x.array.items[i];
        bool skip = dedup ? plain_has(out, plain_shown(item))
                          : item.type == EXPR_STRING && item.string.len == 0;
        if (!skip) {
            items[out.array.count++] = item;
        }
    }
    return out;
}

static struct expr_value plain_split(struct slice s, struct slice d, int64_t most, bool from_end)
{
    struct expr_value *items = plain_take((s.len + 2) * sizeof *items);
    struct expr_value out = {.type = EXPR_ARRAY, .array = {items, 0}};
    size_t at;
    while (out.array.count + 1 < most && d.len > 0 &&
           (at = from_end ? plain_find_last(s, d) : plain_find(s, d)) != SIZE_MAX) {
        struct slice before = plain_cut(s, 0, at), behind = plain_cut(s, at + d.len, s.len);
        items[out.array.count++] = plain_slice(from_end ? behind : before);
        s = from_end ? before : behind;
    }
    if (most > 0) {
        items[out.array.count++] = plain_slice(s);
    }
    return out;
}

static struct expr_value plain_pair(struct slice s, struct slice d, size_t at)
{
    struct expr_value *items = plain_take(2 * sizeof *items);
    if (d.len == 0 || at == SIZE_MAX) {
        return plain_text("");
    }
    items[0] = plain_slice(plain_cut(s, 0, at));
    items[1] = plain_slice(plain_cut(s, at + d.len, s.len));
    return (struct expr_value){.type = EXPR_ARRAY, .array = {items, 2}};
}

/* Pieces between separators; words: only those of letters and digits, none that is empty. */
static struct expr_value plain_pieces(struct slice s, bool words)
{
    struct expr_value *items = plain_take((s.len + 1) * sizeof *items);
    struct expr_value out = {.type = EXPR_ARRAY, .array = {items, 0}};
    for (size_t from = 0, to; from < s.len; from = to + 1) {
        bool good = true;
        for (to = from; to < s.len && !(words ? plain_blank_char(s.ptr[to]) : s.ptr[to] == '\n');
             to++) {
            int c = s.ptr[to];
            good = good && ((c >= '0' && c <= '9') || plain_lower(c) != c || plain_upper(c) != c ||
                            c > 127);
        }
        bool cr = !words && to < s.len && to > from && s.ptr[to - 1] == '\r';
        if (!words || (good && to > from)) {
            items[out.array.count++] = plain_slice(plain_cut(s, from, to - cr));
        }
    }
    return out;
}

static bool plain_before(struct expr_value a, struct expr_value b, bool ascending)
{
    int order = plain_order(a, b);
    return ascending ? order < 0 : order > 0;
}

/* Of items of one kind in the plainest way; of mixed ones the order is not transitive, so what
 * comes out depends on the way: each goes by halving among those before it. */
static struct expr_value plain_sort(struct expr_value v, bool ascending)
{
    struct expr_value x = plain_items(v);
    struct expr_value *items = plain_take((x.array.count + 1) * sizeof *items);
    bool texts = true, numbers = true;
    for (uint32_t i = 0; i < x.array.count; i++) {
        texts = texts && x.array.items[i].type == EXPR_STRING;
        numbers = numbers && x.array.items[i].type == EXPR_INTEGER;
    }
    for (uint32_t i = 0; i < x.array.count; i++) {
        struct expr_value item = x.array.items[i];
        uint32_t at = i, low = 0, high = i;
        if (texts || numbers) {
            for (; at > 0 && plain_before(item, items[at - 1], ascending); at--) {
                items[at] = items[at - 1];
            }
            items[at] = item;
            continue;
        }
        while (low < high) {
            uint32_t middle = (low + high) / 2;
            if (plain_before(item, items[middle], ascending)) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        for (; at > low; at--) {
            items[at] = items[at - 1];
        }
        items[low] = item;
    }
    return (struct expr_value){.type = EXPR_ARRAY, .array = {items, x.array.count}};
}

/* --- addresses, with the C library -------------------------------------------------------------
 */

/* Its bytes: 4, 16, or 0 when it is none. */
static unsigned plain_address(struct slice s, unsigned char out[16])
{
    char text[64] = "";
    if (s.len >= sizeof text || (s.len > 0 && memchr(s.ptr, 0, s.len) != NULL)) {
        return 0;
    }
    if (s.len > 0) {
        memcpy(text, s.ptr, s.len);
    }
    return inet_pton(AF_INET, text, out) == 1 ? 4 : inet_pton(AF_INET6, text, out) == 1 ? 16 : 0;
}

static bool plain_in_network(struct slice address, struct slice network)
{
    unsigned char a[16], n[16];
    size_t slash = plain_find(network, slice_of_text("/"));
    bool is = true;
    int64_t bits = 128;
    if (slash != SIZE_MAX) {
        struct expr_value number =
            plain_number(plain_slice(plain_cut(network, slash + 1, network.len)), &is);
        bits = number.integer;
        network = plain_cut(network, 0, slash);
    }
    unsigned bytes = plain_address(address, a);
    if (bytes == 0 || plain_address(network, n) != bytes || !is ||
        (slash != SIZE_MAX && bits > 8 * (int64_t)bytes)) {
        return false;
    }
    for (unsigned bit = 0; bit < 8 * bytes && bit < bits; bit++) {
        unsigned mask = 0x80u >> bit % 8;
        is = is && (a[bit / 8] & mask) == (n[bit / 8] & mask);
    }
    return is;
}

static struct expr_value plain_reverse_name(struct slice s)
{
    unsigned char bytes[16];
    unsigned count = plain_address(s, bytes);
    char *text = plain_take(128), *at = text;
    *at = '\0';
    for (unsigned i = count; i-- > 0;) {
        at += count == 4 ? sprintf(at, "%u.", bytes[i])
                         : sprintf(at, "%x.%x.", bytes[i] & 15u, bytes[i] >> 4);
    }
    return plain_slice(slice_of(text, at == text ? 0 : (size_t)(at - text) - 1));
}

static struct expr_value plain_email_part(struct slice s, struct slice part)
{
    size_t at = plain_find_last(s, slice_of_text("@"));
    return at == SIZE_MAX                              ? plain_text("")
           : slice_equal(part, slice_of_text("local")) ? plain_slice(plain_cut(s, 0, at))
                                                       : plain_slice(plain_cut(s, at + 1, s.len));
}

/* --- what is remembered ------------------------------------------------------------------------
 */

static struct plain_key {
    bool counter;
    struct slice key;
    struct expr_value value;
} plain_keys[512];
static unsigned plain_key_count;

static struct plain_key *plain_key(bool counter, struct expr_value key)
{
    struct slice text = key.type == EXPR_STRING ? key.string : slice_of_text("number");
    for (unsigned i = 0; i < plain_key_count; i++) {
        if (plain_keys[i].counter == counter && slice_equal(plain_keys[i].key, text)) {
            return &plain_keys[i];
        }
    }
    return NULL;
}

static struct plain_key *plain_key_made(bool counter, struct expr_value key)
{
    struct plain_key *found = plain_key(counter, key);
    if (found == NULL && plain_key_count < sizeof plain_keys / sizeof plain_keys[0]) {
        found = &plain_keys[plain_key_count++];
        *found = (struct plain_key){.counter = counter,
                                    .key = key.type == EXPR_STRING ? key.string
                                                                   : slice_of_text("number"),
                                    .value = plain_int(0)};
    }
    return found;
}

static struct expr_value plain_of_lists(const char *name, struct slice list, struct slice key)
{
    bool exists = strcmp(name, "key_exists") == 0,
         known = slice_equal(list, slice_of_text("known"));
    size_t news = plain_find(key, slice_of_text("+News@"));
    bool has = slice_equal(key, slice_of_text("a@b.example")) ||
               (known ? slice_equal(key, slice_of_text("1000")) || news != SIZE_MAX : key.len == 0);
    if (exists) {
        return plain_int(has);
    }
    return !has ? plain_text("") : known ? plain_int(1) : plain_text(key.len == 0 ? "" : "12");
}

static struct expr_value plain_of_store(const char *name, const struct expr_value *a)
{
    struct plain_key *key = plain_key(name[0] == 'c', a[1]);
    if (strcmp(name, "key_exists") == 0) {
        return plain_int(key != NULL);
    }
    if (strcmp(name, "key_get") == 0) {
        return key == NULL ? plain_text("") : key->value;
    }
    if (strcmp(name, "counter_get") == 0) {
        return key == NULL ? plain_int(0) : key->value;
    }
    key = plain_key_made(name[0] == 'c', a[1]);
    if (strcmp(name, "key_set") == 0) {
        key->value = a[2];
        return plain_int(1);
    }
    __int128 sum = (__int128)key->value.integer + (a[2].type == EXPR_INTEGER ? a[2].integer : 1);
    key->value = plain_int(sum > INT64_MAX   ? INT64_MAX
                           : sum < INT64_MIN ? INT64_MIN
                                             : (int64_t)sum);
    return key->value;
}

/* --- the table ---------------------------------------------------------------------------------
 */

/* What an argument is made of: r anything, m a pattern, a an address or anything, n a network or
 * anything, S the store of keys, T that or a list, others one of `words`. */
struct plain_function {
    const char *name, *arguments;
    const char *words; /* separated by spaces */
    bool hosted;       /* not known at load, whatever its arguments */
};
static const struct plain_function plain_functions[] = {
    {"len", "r"},
    {"count", "r"},
    {"is_empty", "r"},
    {"is_number", "r"},
    {"contains", "rr"},
    {"contains_ignore_case", "rr"},
    {"eq_ignore_case", "rr"},
    {"starts_with", "rr"},
    {"ends_with", "rr"},
    {"if_then", "rrr"},
    {"to_lowercase", "r"},
    {"to_uppercase", "r"},
    {"is_lowercase", "r"},
    {"is_uppercase", "r"},
    {"has_digits", "r"},
    {"count_chars", "r"},
    {"count_spaces", "r"},
    {"count_uppercase", "r"},
    {"count_lowercase", "r"},
    {"trim", "r"},
    {"trim_start", "r"},
    {"trim_end", "r"},
    {"strip_prefix", "rr"},
    {"strip_suffix", "rr"},
    {"substring", "rrr"},
    {"lines", "r"},
    {"split", "rr"},
    {"rsplit", "rr"},
    {"split_n", "rrr"},
    {"split_once", "rr"},
    {"rsplit_once", "rr"},
    {"split_words", "r"},
    {"dedup", "r"},
    {"winnow", "r"},
    {"sort", "rr"},
    {"is_intersect", "rr"},
    {"is_email", "r"},
    {"email_part", "rw", "local domain"},
    {"is_ip_addr", "a"},
    {"is_ipv4_addr", "a"},
    {"is_ipv6_addr", "a"},
    {"is_ip_in_cidr", "an"},
    {"ip_reverse_name", "a"},
    {"matches", "mr", NULL, true},
    {"is_local_domain", "r", NULL, true},
    {"is_local_address", "r", NULL, true},
    {"hash", "rw", "md5 sha1 sha256 sha512", true},
    {"system", "w", "hostname domain node_id node_hostname node_role", true},
    {"metric", "w", "smtp.active-connections queue.count delivery.delivered", true},
    {"key_get", "Tr", NULL, true},
    {"key_exists", "Tr", NULL, true},
    {"key_set", "Srr", NULL, true},
    {"counter_get", "Sr", NULL, true},
    {"counter_incr", "Srr", NULL, true},
    {"dns_query", "rw", "ip ipv4 ipv6 mx txt ptr", true},
};

static const struct plain_function *plain_function(const char *name)
{
    const struct plain_function *f = plain_functions;
    while (strcmp(f->name, name) != 0) {
        f++;
    }
    return f;
}

static struct expr_value plain_of_host(const char *name, const struct expr_value *a, struct slice x,
                                       struct slice y)
{
    char *text = plain_take(16);
    if (strcmp(name, "is_local_domain") == 0) {
        return plain_int(x.len == 11);
    }
    if (strcmp(name, "is_local_address") == 0) {
        return plain_int(x.len > 0 && (x.ptr[0] == 'a' || x.ptr[0] == 'A'));
    }
    if (strcmp(name, "hash") == 0) {
        sprintf(text, "%02x%02x", (unsigned)(x.len & 255), (unsigned)y.len);
        return plain_text(text);
    }
    if (strcmp(name, "system") == 0) {
        return slice_equal(x, slice_of_text("node_id"))
                   ? plain_int(7)
                   : plain_text(slice_equal(x, slice_of_text("hostname")) ? "mx.example.org"
                                                                          : "example.org");
    }
    if (strcmp(name, "metric") == 0) {
        return plain_int(100 * (x.ptr[0] == 's'   ? EXPR_METRIC_SESSIONS
                                : x.ptr[0] == 'q' ? EXPR_METRIC_QUEUED
                                                  : EXPR_METRIC_DELIVERED));
    }
    if (strcmp(name, "dns_query") == 0) {
        return a[0].type == EXPR_STRING ? a[0] : plain_error("no name server");
    }
    return slice_equal(x, slice_of_text("*")) ? plain_of_store(name, a)
                                              : plain_of_lists(name, x, y);
}

/* One of the texts that begins with `name`. */
#define IS(function) (strcmp(name, function) == 0)

static struct expr_value plain_of_text(const char *name, struct slice x)
{
    unsigned char bytes[16];
    unsigned family = plain_address(x, bytes);
    size_t at = plain_find_last(x, slice_of_text("@"));
    return IS("to_lowercase")      ? plain_slice(plain_case(x, plain_lower))
           : IS("to_uppercase")    ? plain_slice(plain_case(x, plain_upper))
           : IS("is_lowercase")    ? plain_int(plain_count(x, "upper") == 0)
           : IS("is_uppercase")    ? plain_int(plain_count(x, "lower") == 0)
           : IS("has_digits")      ? plain_int(plain_count(x, "digits") > 0)
           : IS("count_chars")     ? plain_int(plain_count(x, "chars"))
           : IS("count_spaces")    ? plain_int(plain_count(x, "spaces"))
           : IS("count_uppercase") ? plain_int(plain_count(x, "upper"))
           : IS("count_lowercase") ? plain_int(plain_count(x, "lower"))
           : IS("trim")            ? plain_trim(x, true, true)
           : IS("trim_start")      ? plain_trim(x, true, false)
           : IS("trim_end")        ? plain_trim(x, false, true)
           : IS("lines")           ? plain_pieces(x, false)
           : IS("split_words")     ? plain_pieces(x, true)
           : IS("is_email")        ? plain_int(at != SIZE_MAX && at > 0 && at + 1 < x.len)
           : IS("is_ip_addr")      ? plain_int(family != 0)
           : IS("is_ipv4_addr")    ? plain_int(family == 4)
           : IS("is_ipv6_addr")    ? plain_int(family == 16)
                                   : plain_reverse_name(x);
}

static struct expr_value plain_of_texts(const char *name, const struct expr_value *a,
                                        struct slice x, struct slice y)
{
    bool starts = plain_find(x, y) == 0;
    bool ends = x.len >= y.len && slice_equal(plain_cut(x, x.len - y.len, x.len), y);
    struct slice lx = plain_case(x, plain_lower), ly = plain_case(y, plain_lower);
    return IS("starts_with")      ? plain_int(starts)
           : IS("ends_with")      ? plain_int(ends)
           : IS("strip_prefix")   ? plain_slice(starts ? plain_cut(x, y.len, x.len) : SLICE_EMPTY)
           : IS("strip_suffix")   ? plain_slice(ends ? plain_cut(x, 0, x.len - y.len) : SLICE_EMPTY)
           : IS("contains")       ? plain_int(plain_find(x, y) != SIZE_MAX)
           : IS("eq_ignore_case") ? plain_int(slice_equal(lx, ly))
           : IS("contains_ignore_case") ? plain_int(plain_find(lx, ly) != SIZE_MAX)
           : IS("split")                ? plain_split(x, y, INT64_MAX, false)
           : IS("rsplit")               ? plain_split(x, y, INT64_MAX, true)
           : IS("split_n")              ? plain_split(x, y, plain_whole(a[2]), false)
           : IS("split_once")           ? plain_pair(x, y, plain_find(x, y))
           : IS("rsplit_once")          ? plain_pair(x, y, plain_find_last(x, y))
           : IS("email_part")           ? plain_email_part(x, y)
           : IS("is_ip_in_cidr")        ? plain_int(plain_in_network(x, y))
                                        : plain_substring(x, plain_whole(a[1]), plain_whole(a[2]));
}

static bool plain_meet(struct expr_value a, struct expr_value b)
{
    struct expr_value x = plain_items(a), y = plain_items(b);
    for (uint32_t i = 0; i < x.array.count; i++) {
        if (plain_has(y, plain_shown(x.array.items[i]))) {
            return true;
        }
    }
    return false;
}

static bool plain_has_any_case(struct expr_value array, struct slice text)
{
    for (uint32_t i = 0; i < array.array.count; i++) {
        struct slice item = plain_shown(array.array.items[i]);
        if (slice_equal(plain_case(item, plain_lower), plain_case(text, plain_lower))) {
            return true;
        }
    }
    return false;
}

static struct expr_value plain_call(const char *name, const struct expr_value *a, unsigned argc)
{
    struct slice x = plain_shown(a[0]), y = argc > 1 ? plain_shown(a[1]) : SLICE_EMPTY;
    bool array = a[0].type == EXPR_ARRAY, is;
    if (IS("matches")) { /* patterns of letters only */
        size_t at = plain_find(y, x);
        plain.found = at == SIZE_MAX ? SLICE_EMPTY : slice_of(y.ptr + at, x.len);
        return plain_int(at != SIZE_MAX);
    }
    if (plain_function(name)->hosted) {
        return plain_of_host(name, a, x, y);
    }
    if (IS("is_number")) {
        (void)plain_number(a[0], &is);
        return plain_int(is);
    }
    bool empty_text = a[0].type == EXPR_STRING && x.len == 0;
    return IS("len")                 ? plain_int(array ? a[0].array.count : (int64_t)x.len)
           : IS("count")             ? plain_int(array ? a[0].array.count : !empty_text)
           : IS("is_empty")          ? plain_int(array ? a[0].array.count == 0 : empty_text)
           : IS("if_then")           ? (plain_true(a[0]) ? a[1] : a[2])
           : IS("dedup")             ? plain_filter(a[0], true)
           : IS("winnow")            ? plain_filter(a[0], false)
           : IS("sort")              ? plain_sort(a[0], plain_true(a[1]))
           : IS("is_intersect")      ? plain_int(plain_meet(a[0], a[1]))
           : array && IS("contains") ? plain_int(plain_has(a[0], y))
           : array && IS("contains_ignore_case") ? plain_int(plain_has_any_case(a[0], y))
           : argc == 1                           ? plain_of_text(name, x)
                                                 : plain_of_texts(name, a, x, y);
}
#undef IS
