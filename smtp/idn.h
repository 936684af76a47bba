/* Internationalized domains: the tables hold A-labels, addresses may come with U-labels (RFC 6531).
 */
#pragma once

#include "core/cursor.h"
#include "core/err.h"

/* Writes address with its domain as A-labels (RFC 5891, as libidn2 does it). Only for addresses
 * with non-ASCII bytes in the domain: this allocates. MX_ERR_SYNTAX: the domain is no
 * internationalized domain name; MX_ERR_LIMIT: out is too small. */
MX_MUST_CHECK mx_err idn_address(struct writer *out, struct slice address, size_t domain_at);
