/* Short texts that many things share: what next hops answered, what they are called. Each is kept
 * once and counted. A text is a comfort, not a need: over the bounds, or without memory, there is
 * none. Single-threaded. */
#pragma once

#include "core/handles.h"
#include "core/slice.h"

enum {
    TEXT_BYTES = 255,               /* of each; the rest is cut off */
    TEXTS_MAX = 256 * 1024,         /* different ones */
    TEXTS_BYTES = 32 * 1024 * 1024, /* of all, with what keeping them takes */
    TEXTS_SLOTS = 16 * 1024,
    TEXTS_CHAIN_MAX = 128, /* in one slot: eight times what a full table has in one on average, so
                              whoever has more of them chose them so that they meet */
};

/* 0 is no text. */
typedef uint32_t text_id;

struct texts {
    struct handles handles;
    struct text **slots;
    size_t bytes;
};

/* MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err texts_init(struct texts *texts);
void texts_fini(struct texts *texts); /* a zeroed one is fine */
/* One more use of this text; 0: none is kept. */
text_id texts_hold(struct texts *texts, struct slice text);
/* One more use of a text that is kept; returns id. */
text_id texts_share(struct texts *texts, text_id id);
/* One use less; 0 is ignored. */
void texts_drop(struct texts *texts, text_id id);
/* Valid until its last use is dropped; empty for 0. */
struct slice texts_get(const struct texts *texts, text_id id);
