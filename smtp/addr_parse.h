/* Addresses as RFC 5321 section 4.1.2 writes them (with RFC 6531's UTF-8), without any knowledge of
 * who exists. Pure; everything borrows from the text. */
#pragma once

#include "core/err.h"
#include "core/slice.h"

enum {
    ADDR_LOCAL_CONTENT_MAX = 64, /* RFC 5321 section 4.5.3.1.1, without the quotes */
    ADDR_LABEL_MAX = 63,         /* RFC 1035; a label with UTF-8 is bounded by the domain only */
    ADDR_PATH_MAX = 256,         /* RFC 5321 section 4.5.3.1.3, with the angle brackets */
};

/* A Mailbox: Local-part "@" ( Domain / address-literal ). */
struct address {
    struct slice text;   /* the whole, as written */
    struct slice local;  /* with its quotes, if it has any */
    struct slice domain; /* empty for <postmaster>; a literal keeps its brackets */
    bool quoted;
    bool literal;
    bool non_ascii;
};

/* What stands between angle brackets. */
struct path {
    struct address address; /* empty text = null path "<>" */
    struct slice route;     /* source route without its colon, to be ignored */
};

/* The whole of text must be a Mailbox. UTF-8 is accepted (see non_ascii); malformed UTF-8 is
 * MX_ERR_SYNTAX, as is everything over a length limit. */
MX_MUST_CHECK mx_err addr_parse_mailbox(struct address *out_address, struct slice text);
/* A Path at the start of text, from "<" to ">". *out_used = its length. Accepts "<>" and
 * "<postmaster>" (any case): whether they may stand here is the caller's business. */
MX_MUST_CHECK mx_err addr_parse_path(struct path *out_path, size_t *out_used, struct slice text);
/* Domain of RFC 5321, at most 255 octets; with_utf8 also allows U-labels. */
bool addr_is_domain(struct slice text, bool with_utf8);
/* "[192.0.2.1]" or "[IPv6:2001:db8::1]"; other registered tags do not exist. */
bool addr_is_literal(struct slice text);
