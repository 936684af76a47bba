/* DNS responses: whatever comes, reading ends within the message, and what is taken over can be
 * read back, is of the right form, and is the same for another case of the name. */
#include "fuzz.h"
#include "io/dns_engine.h"

static const enum dns_type types[] = {DNS_A,   DNS_AAAA,  DNS_MX,  DNS_TXT,
                                      DNS_PTR, DNS_CNAME, DNS_SOA, DNS_TLSA};

union memory {
    struct dns_answer answer;
    uint8_t room[sizeof(struct dns_answer) + DNS_ANSWER_BYTES];
};

static void check_answer(const struct dns_answer *answer, enum dns_type type)
{
    struct dns_rdata rdata;
    size_t at = 0;
    unsigned count = 0;
    while (dns_answer_next(answer, &at, &rdata)) {
        count++;
        FUZZ_CHECK(type != DNS_A || rdata.data.len == 4);
        FUZZ_CHECK(type != DNS_AAAA || rdata.data.len == 16);
        FUZZ_CHECK(rdata.data.len <= DNS_RDATA_MAX || type == DNS_TLSA);
        if (type == DNS_MX || type == DNS_PTR) {
            struct dns_name name;
            FUZZ_CHECK(dns_name_parse(&name, rdata.data) == MX_OK);
        }
    }
    FUZZ_CHECK(count == answer->count && (count > 0) == (answer->status == DNS_FOUND));
}

/* The first byte chooses the type, and whether the message is made to fit the question. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static union memory memory;
    static uint8_t message[65536];
    if (size < 1 || size > sizeof message) {
        return 0;
    }
    enum dns_type type = types[data[0] % mx_countof(types)];
    bool fit = (data[0] & 0x80) != 0;
    size--;
    memcpy(message, data + 1, size);
    struct dns_question question = {.id = 0x1234, .edns = true, .type = type};
    FUZZ_CHECK(dns_name_parse(&question.name, SLICE_LITERAL("a.b")) == MX_OK);
    static const uint8_t head[] = "\x12\x34\x81\x80\0\x01";
    static const uint8_t name[] = "\x01"
                                  "a\x01"
                                  "b\0\0";
    if (fit && size >= 21) {
        memcpy(message, head, 6);
        memcpy(message + 12, name, 6);
        message[18] = (uint8_t)type;
        message[19] = 0;
        message[20] = 1;
    }
    struct dns_result result = {.answer = &memory.answer};
    dns_response_parse(&result, &question, slice_of(message, size));
    FUZZ_CHECK(result.response != DNS_RESPONSE_BROKEN || result.problem[0] != 0);
    if (result.response == DNS_RESPONSE_ANSWER) {
        check_answer(&memory.answer, type);
    }
    return 0;
}
