#include "io/dns_codec.h"

#include "core/check.h"
#include "core/text.h"

enum {
    HEADER_BYTES = 12,
    POINTER_BITS = 0xc0,
    POINTERS_MAX = DNS_NAME_WIRE_MAX / 2,
    CLASS_IN = 1,
    FLAG_QR = 0x8000,
    OPCODE_BITS = 0x7800,
    FLAG_TC = 0x0200,
    FLAG_RD = 0x0100,
    FLAG_RA = 0x0080,
    FLAG_AD = 0x0020,
    RCODE_BITS = 0x000f,
    MX_FIXED = 2,
    TLSA_FIXED = 3,
    SOA_TAIL = 20, /* serial, refresh, retry, expire, minimum */
    TTL_SIGN = 31, /* a TTL with the top bit set is 0 (RFC 2181 section 8) */
    RECORD_HEAD = 4,
};

/* --- integers in network order -----------------------------------------------------------------
 */

static void put_be16(struct writer *w, unsigned value)
{
    put_u8(w, (uint8_t)(value >> 8));
    put_u8(w, (uint8_t)value);
}

static uint16_t get_be16(struct reader *r)
{
    unsigned high = get_u8(r);
    return (uint16_t)(high << 8 | get_u8(r));
}

static uint32_t get_be32(struct reader *r)
{
    uint32_t high = get_be16(r);
    return high << 16 | get_be16(r);
}

/* --- names -------------------------------------------------------------------------------------
 */

static bool add_label(struct dns_name *name, struct slice label)
{
    if (label.len > DNS_LABEL_MAX || name->len + 1 + label.len + 1 > DNS_NAME_WIRE_MAX) {
        return false;
    }
    name->wire[name->len++] = (uint8_t)label.len;
    memcpy(name->wire + name->len, label.ptr, label.len);
    name->len = (uint8_t)(name->len + label.len);
    return true;
}

mx_err dns_name_parse(struct dns_name *out, struct slice text)
{
    struct dns_name name = {0};
    if (slice_equal(text, SLICE_LITERAL("."))) {
        text = SLICE_EMPTY;
    }
    while (text.len > 0) {
        size_t end = slice_find(text, '.');
        if (end == 0 || !add_label(&name, slice_first(text, end))) {
            return MX_ERR_SYNTAX;
        }
        text = slice_from(text, end < text.len ? end + 1 : end);
    }
    name.wire[name.len++] = 0;
    *out = name;
    return MX_OK;
}

static bool is_name_byte(uint8_t c)
{
    return ascii_is_alnum(c) || c == '-' || c == '_' || c == '/';
}

bool put_dns_name(struct writer *w, const struct dns_name *name)
{
    uint8_t text[DNS_NAME_WIRE_MAX];
    size_t len = 0;
    for (size_t at = 0; name->wire[at] != 0; at += 1U + name->wire[at]) {
        if (at > 0) {
            text[len++] = '.';
        }
        for (size_t i = 1; i <= name->wire[at]; i++) {
            if (!is_name_byte(name->wire[at + i])) {
                return false;
            }
            text[len++] = ascii_lower(name->wire[at + i]);
        }
    }
    if (len > writer_room(w)) {
        return false;
    }
    put_bytes(w, text, len);
    return true;
}

/* Lengths of labels are below 'A', so they can be treated as text. */
bool dns_name_equal(const struct dns_name *a, const struct dns_name *b)
{
    return text_equal_nocase(slice_of(a->wire, a->len), slice_of(b->wire, b->len));
}

void dns_name_lower(struct dns_name *name)
{
    text_lower(name->wire, slice_of(name->wire, name->len));
}

/* A name at the reader's place, its compression undone. Every pointer has to lead before the place
 * where the name, or the part of it that a pointer led to, began; and as many as a name has labels
 * are enough, so what somebody makes of pointers alone costs nothing. */
static bool get_name(struct dns_name *out, struct reader *r)
{
    struct reader at = *r;
    size_t before = r->pos;
    unsigned jumps = 0;
    out->len = 0;
    for (;;) {
        uint8_t len = get_u8(&at);
        if ((len & POINTER_BITS) == POINTER_BITS) {
            size_t target = (size_t)(len & ~POINTER_BITS) << 8 | get_u8(&at);
            if (at.overrun || target >= before || jumps == POINTERS_MAX) {
                return false;
            }
            if (jumps++ == 0) {
                r->pos = at.pos;
            }
            at.pos = target;
            before = target;
            continue;
        }
        struct slice label = get_bytes(&at, len);
        if (at.overrun || len > DNS_LABEL_MAX) {
            return false;
        }
        if (len == 0) {
            break;
        }
        if (!add_label(out, label)) {
            return false;
        }
    }
    out->wire[out->len++] = 0;
    if (jumps == 0) {
        r->pos = at.pos;
    }
    return true;
}

/* --- the query ---------------------------------------------------------------------------------
 */

void put_dns_query(struct writer *w, const struct dns_question *question)
{
    put_be16(w, question->id);
    put_be16(w, FLAG_RD | FLAG_AD);
    put_be16(w, 1);
    put_be16(w, 0);
    put_be16(w, 0);
    put_be16(w, question->edns);
    put_bytes(w, question->name.wire, question->name.len);
    put_be16(w, question->type);
    put_be16(w, CLASS_IN);
    if (question->edns) {
        put_u8(w, 0); /* the root */
        put_be16(w, DNS_OPT);
        put_be16(w, DNS_UDP_BYTES);
        put_be16(w, 0); /* extended code and version */
        put_be16(w, 0); /* flags: no DO, the resolver validates */
        put_be16(w, 0);
    }
}

/* --- the response ------------------------------------------------------------------------------
 */

struct record {
    struct dns_name name;
    uint16_t type, class;
    uint32_t ttl_s;
    size_t at, len; /* of its data */
};

/* What a response is made of while it is read. */
struct reading {
    struct dns_result *result;
    const struct dns_question *question;
    struct slice message;
    uint16_t flags, answers, authorities;
    size_t records_at;    /* behind the question */
    struct dns_name name; /* where the chain of aliases has led */
    unsigned aliases;
    uint32_t ttl_s;
    struct writer out; /* into the answer */
    unsigned count;
    bool dropped; /* a record that cannot be used */
    bool soa;     /* there is one: the negative answer is meant (RFC 2308) */
    uint32_t soa_ttl_s;
};

static void broken(struct reading *reading, const char *problem)
{
    reading->result->response = DNS_RESPONSE_BROKEN;
    reading->result->problem = problem;
}

static bool get_record(struct record *out, struct reader *r)
{
    if (!get_name(&out->name, r)) {
        return false;
    }
    out->type = get_be16(r);
    out->class = get_be16(r);
    out->ttl_s = get_be32(r);
    out->ttl_s = out->ttl_s >> TTL_SIGN ? 0 : out->ttl_s;
    out->len = get_be16(r);
    out->at = r->pos;
    (void)get_bytes(r, out->len);
    return !r->overrun;
}

/* The name in a record's data; it has to end where the data end, or where `tail` bytes follow. */
static bool get_data_name(struct dns_name *out, const struct reading *reading,
                          const struct record *record, size_t skip, size_t tail)
{
    if (record->len < skip + 1 + tail) {
        return false;
    }
    struct reader r = reader_init(slice_first(reading->message, record->at + record->len));
    r.pos = record->at + skip;
    return get_name(out, &r) && r.pos + tail == record->at + record->len;
}

static void keep_record(struct reading *reading, uint16_t preference, struct slice data)
{
    if (data.len + RECORD_HEAD > writer_room(&reading->out)) {
        reading->out.overflow = true;
        return;
    }
    put_u16(&reading->out, preference);
    put_slice16(&reading->out, data);
    reading->count++;
}

static bool keep_name(struct reading *reading, const struct record *record, uint16_t preference,
                      size_t skip, size_t tail)
{
    struct dns_name name;
    uint8_t text[DNS_NAME_WIRE_MAX];
    struct writer w = writer_init(text, sizeof text);
    if (!get_data_name(&name, reading, record, skip, tail)) {
        return false;
    }
    if (put_dns_name(&w, &name)) {
        keep_record(reading, preference, writer_slice(&w));
    } else {
        reading->dropped = true;
    }
    return true;
}

static bool keep_text(struct reading *reading, struct slice data)
{
    uint8_t text[DNS_RDATA_MAX];
    struct writer w = writer_init(text, sizeof text);
    struct reader r = reader_init(data);
    while (!r.overrun && reader_left(&r) > 0) {
        put_slice(&w, get_bytes(&r, get_u8(&r)));
    }
    if (r.overrun || w.overflow) {
        return false;
    }
    keep_record(reading, 0, writer_slice(&w));
    return true;
}

/* A record of the type that was asked for. False: malformed. */
static bool keep(struct reading *reading, const struct record *record)
{
    struct slice data = slice_of(reading->message.ptr + record->at, record->len);
    switch (record->type) {
    case DNS_A:
        keep_record(reading, 0, data);
        return data.len == 4;
    case DNS_AAAA:
        keep_record(reading, 0, data);
        return data.len == 16;
    case DNS_TLSA:
        keep_record(reading, 0, data);
        return data.len > TLSA_FIXED;
    case DNS_TXT:
        return keep_text(reading, data);
    case DNS_MX:
        return data.len > MX_FIXED &&
               keep_name(reading, record, (uint16_t)(data.ptr[0] << 8 | data.ptr[1]), MX_FIXED, 0);
    case DNS_SOA: {
        struct dns_name primary;
        struct reader r = reader_init(slice_first(reading->message, record->at + record->len));
        r.pos = record->at;
        return get_name(&primary, &r) &&
               keep_name(reading, record, 0, 0, record->at + record->len - r.pos);
    }
    default: /* PTR, CNAME */
        return keep_name(reading, record, 0, 0, 0);
    }
}

static bool is_here(const struct reading *reading, const struct record *record, uint16_t type)
{
    return record->type == type && record->class == CLASS_IN &&
           dns_name_equal(&record->name, &reading->name);
}

/* Finds the alias of the current name among the answers. False: there is none. */
static bool follow(struct reading *reading, bool *out_malformed)
{
    struct reader r = reader_init(reading->message);
    struct record record;
    r.pos = reading->records_at;
    for (unsigned i = 0; i < reading->answers; i++) {
        (void)get_record(&record, &r); /* read before without a fault */
        if (is_here(reading, &record, DNS_CNAME)) {
            *out_malformed = !get_data_name(&reading->name, reading, &record, 0, 0);
            reading->ttl_s = record.ttl_s < reading->ttl_s ? record.ttl_s : reading->ttl_s;
            return true;
        }
    }
    return false;
}

/* Follows the aliases in whatever order they stand. False: broken. */
static bool follow_all(struct reading *reading)
{
    bool malformed = false;
    while (reading->question->type != DNS_CNAME && follow(reading, &malformed)) {
        if (malformed) {
            broken(reading, "malformed alias");
            return false;
        }
        if (++reading->aliases > DNS_CNAMES_MAX) {
            broken(reading, "aliases lead to aliases without end");
            return false;
        }
    }
    return true;
}

/* How long the absence may be kept: RFC 2308 section 5. */
static void note_soa(struct reading *reading, const struct record *record)
{
    if (record->type != DNS_SOA || record->class != CLASS_IN || record->len < SOA_TAIL) {
        return;
    }
    struct reader r = reader_init(slice_first(reading->message, record->at + record->len));
    r.pos = record->at + record->len - sizeof(uint32_t);
    uint32_t minimum = get_be32(&r);
    minimum = minimum >> TTL_SIGN ? 0 : minimum;
    reading->soa = true;
    reading->soa_ttl_s = minimum < record->ttl_s ? minimum : record->ttl_s;
}

/* Goes through answers and authorities once: all must be well-formed. */
static bool check_records(struct reading *reading)
{
    struct reader r = reader_init(reading->message);
    r.pos = reading->records_at;
    for (unsigned i = 0; i < (unsigned)reading->answers + reading->authorities; i++) {
        struct record record;
        if (!get_record(&record, &r)) {
            return false;
        }
        if (i >= reading->answers) {
            note_soa(reading, &record);
        }
    }
    return true;
}

static bool collect(struct reading *reading)
{
    struct reader r = reader_init(reading->message);
    r.pos = reading->records_at;
    for (unsigned i = 0; i < reading->answers; i++) {
        struct record record;
        (void)get_record(&record, &r);
        if (!is_here(reading, &record, (uint16_t)reading->question->type)) {
            continue;
        }
        if (!keep(reading, &record)) {
            broken(reading, "malformed record");
            return false;
        }
        reading->ttl_s = record.ttl_s < reading->ttl_s ? record.ttl_s : reading->ttl_s;
    }
    if (reading->out.overflow) {
        broken(reading, "more records than fit");
        return false;
    }
    if (reading->count == 0 && reading->dropped) {
        broken(reading, "no record with a usable name");
        return false;
    }
    return true;
}

static void decide(struct reading *reading, uint8_t rcode)
{
    struct dns_result *result = reading->result;
    struct dns_answer *answer = result->answer;
    bool found = reading->count > 0;
    if (!found && rcode == DNS_NOERROR && !reading->soa) {
        if (reading->aliases > 0) {
            result->response = DNS_RESPONSE_ALIAS;
            result->target = reading->name;
            return;
        }
        if ((reading->flags & FLAG_RA) == 0) {
            result->response = DNS_RESPONSE_FAILED;
            result->problem = "the server does not look up names of others (no recursion)";
            return;
        }
    }
    result->response = DNS_RESPONSE_ANSWER;
    *answer =
        (struct dns_answer){.status = found                   ? DNS_FOUND
                                      : rcode == DNS_NXDOMAIN ? DNS_NO_NAME
                                                              : DNS_NODATA,
                            .authentic = (reading->flags & FLAG_AD) != 0,
                            .type = (uint16_t)reading->question->type,
                            .count = (uint16_t)reading->count,
                            .len = (uint16_t)reading->out.len,
                            .ttl_s = found || !reading->soa ? (found ? reading->ttl_s : 0)
                                     : reading->soa_ttl_s < reading->ttl_s ? reading->soa_ttl_s
                                                                           : reading->ttl_s};
}

/* Header and question. False: decided already. */
static bool is_ours(struct reading *reading, struct reader *r)
{
    struct dns_result *result = reading->result;
    const struct dns_question *question = reading->question;
    struct dns_name name;
    uint16_t id = get_be16(r);
    reading->flags = get_be16(r);
    uint16_t questions = get_be16(r);
    reading->answers = get_be16(r);
    reading->authorities = get_be16(r);
    (void)get_be16(r);
    result->response = DNS_RESPONSE_OTHER;
    if (r->overrun || id != question->id || (reading->flags & FLAG_QR) == 0 ||
        (reading->flags & OPCODE_BITS) != 0) {
        return false;
    }
    result->rcode = reading->flags & RCODE_BITS;
    if (questions == 0 && result->rcode != DNS_NOERROR && result->rcode != DNS_NXDOMAIN) {
        return true; /* servers that do not understand EDNS may answer so (RFC 6891 section 7) */
    }
    if (questions != 1 || !get_name(&name, r) || get_be16(r) != question->type ||
        get_be16(r) != CLASS_IN || r->overrun || !dns_name_equal(&name, &question->name)) {
        return false;
    }
    if (!question->any_case && memcmp(name.wire, question->name.wire, name.len) != 0) {
        result->response = DNS_RESPONSE_CASE;
        return false;
    }
    return true;
}

static const char *failure_text(uint8_t rcode)
{
    static const char *const texts[] = {[DNS_FORMERR] =
                                            "the name server did not understand the query",
                                        [DNS_SERVFAIL] = "the name server failed (SERVFAIL)",
                                        [DNS_NOTIMP] = "the name server does not do this",
                                        [5] = "the name server refused"};
    return rcode < mx_countof(texts) && texts[rcode] ? texts[rcode]
                                                     : "the name server answered with an error";
}

void dns_response_parse(struct dns_result *result, const struct dns_question *question,
                        struct slice message)
{
    struct reading reading = {.result = result,
                              .question = question,
                              .message = message,
                              .name = question->name,
                              .ttl_s = UINT32_MAX,
                              .out = writer_init(result->answer->bytes, DNS_ANSWER_BYTES)};
    struct reader r = reader_init(message);
    result->problem = "";
    if (!is_ours(&reading, &r)) {
        return;
    }
    reading.records_at = r.pos;
    if (reading.flags & FLAG_TC) {
        result->response = DNS_RESPONSE_TRUNCATED;
    } else if (result->rcode != DNS_NOERROR && result->rcode != DNS_NXDOMAIN) {
        result->response = DNS_RESPONSE_FAILED;
        result->problem = failure_text(result->rcode);
    } else if (!check_records(&reading)) {
        broken(&reading, "malformed response");
    } else if (follow_all(&reading) && collect(&reading)) {
        decide(&reading, result->rcode);
    }
}

bool dns_answer_next(const struct dns_answer *answer, size_t *at, struct dns_rdata *out)
{
    struct reader r = reader_init(slice_of(answer->bytes, answer->len));
    if (*at >= answer->len) {
        return false;
    }
    r.pos = *at;
    out->preference = get_u16(&r);
    out->data = get_slice16(&r);
    MX_ASSERT(!r.overrun);
    *at = r.pos;
    return true;
}
