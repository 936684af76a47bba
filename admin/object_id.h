/* Object ids: 63 bits, as text in base 32 with the alphabet of the management contract
 * ("abcdefghijklmnopqrstuvwxyz792013", most significant digit first, no leading 'a').
 *
 * Ids that are made here hold the wall time and the node's number, so two nodes never make the same
 * one. Objects of the first start have small fixed ids, the same on every node. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"

enum {
    OBJECT_ID_TEXT_MAX = 16,
    OBJECT_NODE_BITS = 10, /* up to 1,024 nodes */
};

/* What a singleton has: this number's text is "singleton". */
#define OBJECT_ID_SINGLETON UINT64_C(20080258862541)

void put_object_id(struct writer *w, uint64_t id);
/* The whole text, 1 to 13 digits; MX_ERR_SYNTAX. */
MX_MUST_CHECK mx_err object_id_parse(uint64_t *out_id, struct slice text);
/* When the id was made; 0 for the fixed ones. */
int64_t object_id_wall_ms(uint64_t id);
/* The id after last: at least wall_ms in its upper bits, above last, with node. Ids made in a burst
 * run ahead of the clock rather than repeat. */
uint64_t object_id_next(uint64_t last, int64_t wall_ms, uint32_t node);
