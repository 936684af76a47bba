#include "io/dns_engine.h"

#include "core/check.h"
#include "core/text.h"

void dns_engine_init(struct dns_engine *e, const struct resolv_conf *conf,
                     const struct dns_name *name, enum dns_type type, unsigned first)
{
    e->conf = conf;
    e->question = (struct dns_question){.name = *name, .type = type};
    e->first = conf->server_count > 0 ? first % conf->server_count : 0;
    e->tries = 0;
    e->aliases = 0;
    e->aliases_authentic = true;
    e->aliases_ttl_s = UINT32_MAX;
    e->tcp = conf->tcp_only;
    e->no_edns = false;
    e->query_len = 0;
    e->problem = "no name server is configured";
}

unsigned dns_engine_server(const struct dns_engine *e)
{
    return (e->first + e->tries) % e->conf->server_count;
}

/* 255 letters at most: one bit each, of four words. */
static void choose_case(struct dns_name *name, const uint64_t bits[4])
{
    for (size_t i = 0; i < name->len; i++) {
        uint8_t lower = ascii_lower(name->wire[i]);
        bool upper = (bits[i / 64] >> (i % 64) & 1) != 0;
        name->wire[i] = upper && ascii_is_alpha(lower) ? (uint8_t)(lower & ~0x20) : lower;
    }
}

static enum dns_step ask(struct dns_engine *e, const uint64_t entropy[5])
{
    if (e->tries >= e->conf->attempts * e->conf->server_count) {
        return DNS_STEP_FAILED;
    }
    struct writer w = writer_init(e->query, sizeof e->query);
    e->question.id = (uint16_t)entropy[4];
    e->question.edns = !e->no_edns;
    e->question.any_case = e->tcp; /* nobody else could have answered there */
    choose_case(&e->question.name, entropy);
    put_dns_query(&w, &e->question);
    MX_ASSERT(!w.overflow);
    e->query_len = w.len;
    return DNS_STEP_ASK;
}

static enum dns_step ask_next(struct dns_engine *e, const uint64_t entropy[5])
{
    e->tries++;
    e->tcp = e->conf->tcp_only;
    e->no_edns = false;
    return ask(e, entropy);
}

enum dns_step dns_engine_begin(struct dns_engine *e, const uint64_t entropy[5])
{
    return ask(e, entropy);
}

enum dns_step dns_engine_silent(struct dns_engine *e, const char *problem,
                                const uint64_t entropy[5])
{
    e->problem = problem;
    return ask_next(e, entropy);
}

/* The same server once more, by TCP. */
static enum dns_step ask_by_tcp(struct dns_engine *e, const char *problem,
                                const uint64_t entropy[5])
{
    e->problem = problem;
    if (e->tcp) {
        return ask_next(e, entropy);
    }
    e->tcp = true;
    return ask(e, entropy);
}

static enum dns_step failed(struct dns_engine *e, const struct dns_result *result,
                            const uint64_t entropy[5])
{
    e->problem = result->problem;
    if ((result->rcode == DNS_FORMERR || result->rcode == DNS_NOTIMP) && !e->no_edns) {
        e->no_edns = true; /* RFC 6891 section 7 */
        return ask(e, entropy);
    }
    return ask_next(e, entropy);
}

static enum dns_step follow(struct dns_engine *e, const struct dns_result *result,
                            const uint64_t entropy[5])
{
    if (++e->aliases > DNS_ALIASES_MAX) {
        e->problem = "aliases lead to aliases without end";
        return DNS_STEP_FAILED;
    }
    /* How long the links live, and whether they are authentic, the response that ends in an alias
     * does not say for all: nothing is kept, nothing is believed. */
    e->aliases_authentic = false;
    e->aliases_ttl_s = 0;
    e->question.name = result->target;
    return ask(e, entropy);
}

enum dns_step dns_engine_response(struct dns_engine *e, struct slice message,
                                  struct dns_answer *answer, const uint64_t entropy[5])
{
    struct dns_result result = {.answer = answer};
    dns_response_parse(&result, &e->question, message);
    switch (result.response) {
    case DNS_RESPONSE_OTHER:
        if (!e->tcp) {
            return DNS_STEP_WAIT;
        }
        result.problem = "the name server answered another question";
        return failed(e, &result, entropy);
    case DNS_RESPONSE_CASE:
        return ask_by_tcp(e, "the name server changed the letters of the name", entropy);
    case DNS_RESPONSE_TRUNCATED:
        return ask_by_tcp(e, "the answer is truncated", entropy);
    case DNS_RESPONSE_ALIAS:
        return follow(e, &result, entropy);
    case DNS_RESPONSE_ANSWER:
        answer->authentic = answer->authentic && e->conf->trust_ad && e->aliases_authentic;
        answer->ttl_s = answer->ttl_s < e->aliases_ttl_s ? answer->ttl_s : e->aliases_ttl_s;
        return DNS_STEP_DONE;
    default: /* broken or failed */
        return failed(e, &result, entropy);
    }
}
