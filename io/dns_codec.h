/* The wire format of DNS messages (RFC 1035 section 4; EDNS: RFC 6891): one question out, one
 * response in. Pure; every name and every record stays within the message, and a name's compression
 * pointers only lead backwards, so reading ends. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"

enum {
    DNS_LABEL_MAX = 63,
    DNS_NAME_WIRE_MAX = 255,
    DNS_NAME_TEXT_MAX = 253,
    DNS_UDP_BYTES = 1232,   /* what we say we take by UDP: no fragments (DNS flag day 2020) */
    DNS_TCP_BYTES = 16384,  /* of a response by TCP; a longer one is a failure of the server */
    DNS_QUERY_BYTES = 320,  /* the longest query that we send */
    DNS_CNAMES_MAX = 8,     /* of a chain within one response */
    DNS_RDATA_MAX = 4096,   /* of one record of an answer, as text */
    DNS_ANSWER_BYTES = 8192 /* of all records of an answer */
};

enum dns_type {
    DNS_A = 1,
    DNS_CNAME = 5,
    DNS_SOA = 6,
    DNS_PTR = 12,
    DNS_MX = 15,
    DNS_TXT = 16,
    DNS_AAAA = 28,
    DNS_OPT = 41,
    DNS_TLSA = 52,
};

enum dns_rcode {
    DNS_NOERROR = 0,
    DNS_FORMERR = 1,
    DNS_SERVFAIL = 2,
    DNS_NXDOMAIN = 3,
    DNS_NOTIMP = 4
};

/* A name as labels with their lengths, ending in the root's empty label. */
struct dns_name {
    uint8_t len; /* of wire; 0: no name */
    uint8_t wire[DNS_NAME_WIRE_MAX];
};

/* "mx.example.org", with or without a dot at its end; "" and "." are the root. Any byte but a dot
 * may be in a label. MX_ERR_SYNTAX: an empty label, a label or a name that is too long. */
MX_MUST_CHECK mx_err dns_name_parse(struct dns_name *out, struct slice text);
/* Lower-case text without a dot at its end; the root is "". False, and nothing is written: a label
 * has a byte that no host or service name has (RFC 1123 section 2.1, RFC 8553), or there is no
 * room. */
bool put_dns_name(struct writer *w, const struct dns_name *name);
/* Apart from the case of A-Z (RFC 4343). */
bool dns_name_equal(const struct dns_name *a, const struct dns_name *b);
void dns_name_lower(struct dns_name *name);

struct dns_question {
    uint16_t id;
    bool edns;
    bool any_case;        /* the case of the name in the response does not matter */
    struct dns_name name; /* in the case in which it is sent */
    enum dns_type type;
};

/* Recursion desired; AD set, so that the resolver says whether it validated (RFC 6840 section 5.7).
 */
void put_dns_query(struct writer *w, const struct dns_question *question);

enum dns_response {
    DNS_RESPONSE_OTHER,     /* not a response to this question: to be ignored */
    DNS_RESPONSE_CASE,      /* it is, but for the case of the name: perhaps forged */
    DNS_RESPONSE_TRUNCATED, /* ask again by TCP */
    DNS_RESPONSE_BROKEN,    /* malformed, or over a bound */
    DNS_RESPONSE_FAILED,    /* the server cannot or will not answer; rcode tells */
    DNS_RESPONSE_ALIAS,     /* a chain whose end is to be asked for: target */
    DNS_RESPONSE_ANSWER,
};

enum dns_status {
    DNS_FOUND,
    DNS_NODATA,
    DNS_NO_NAME,
    DNS_UNKNOWN, /* nobody could say; only in the cache */
};

/* Records of one name and type, in a form that does not need the message. */
struct dns_answer {
    uint8_t status;  /* enum dns_status */
    bool authentic;  /* AD: the resolver says that it has validated it */
    uint16_t type;   /* enum dns_type */
    uint16_t count;  /* of records; 0 unless found */
    uint16_t len;    /* of bytes */
    uint32_t ttl_s;  /* of the answer; 0: not to be kept */
    uint8_t bytes[]; /* read with dns_answer_next */
};

/* One record. */
struct dns_rdata {
    uint16_t preference; /* MX */
    /* A, AAAA: 4 or 16 bytes. MX, PTR, CNAME, SOA (primary server): a name as text, the root is
     * empty. TXT: its strings joined. TLSA: as on the wire (usage, selector, matching, data). */
    struct slice data;
};

struct dns_result {
    enum dns_response response;
    uint8_t rcode;
    struct dns_name target;    /* of an alias */
    struct dns_answer *answer; /* given by the caller, with room for DNS_ANSWER_BYTES */
    const char *problem;       /* static text, of a broken or failed one */
};

/* Reads a response to the question; ttl_s of a chain is the shortest of its links. A name that is
 * not there (RFC 2308) is an answer as well. */
void dns_response_parse(struct dns_result *result, const struct dns_question *question,
                        struct slice message);

/* Goes through an answer; *at begins with 0. False at the end. */
bool dns_answer_next(const struct dns_answer *answer, size_t *at, struct dns_rdata *out);
