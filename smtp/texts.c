#include "smtp/texts.h"

#include "core/check.h"
#include "core/hash.h"

#include <stdlib.h>

struct text {
    struct text *next; /* in its slot */
    uint32_t handle;
    uint32_t uses;
    uint32_t hash;
    uint8_t len;
    uint8_t bytes[];
};

mx_err texts_init(struct texts *texts)
{
    *texts = (struct texts){.slots = calloc(TEXTS_SLOTS, sizeof(struct text *))};
    mx_err err = texts->slots == NULL ? MX_ERR_NOMEM : handles_init(&texts->handles, TEXTS_MAX);
    if (err) {
        texts_fini(texts);
    }
    return err;
}

void texts_fini(struct texts *texts)
{
    for (uint32_t i = 0; i < texts->handles.made; i++) {
        free(handles_get(&texts->handles, i));
    }
    handles_fini(&texts->handles);
    free(texts->slots);
    *texts = (struct texts){0};
}

static size_t bytes_of(size_t len)
{
    return sizeof(struct text) + len;
}

/* *out_room: its slot takes one more. */
static struct text *find(const struct texts *texts, struct slice text, uint32_t hash,
                         bool *out_room)
{
    struct text *at = texts->slots[hash % TEXTS_SLOTS];
    unsigned passed = 0;
    while (at != NULL && !(at->hash == hash && slice_equal(slice_of(at->bytes, at->len), text))) {
        at = at->next;
        passed++;
    }
    *out_room = passed < TEXTS_CHAIN_MAX;
    return at;
}

static struct text *add(struct texts *texts, struct slice text, uint32_t hash)
{
    size_t bytes = bytes_of(text.len);
    struct text *made = texts->bytes + bytes > TEXTS_BYTES ? NULL : malloc(bytes);
    if (made == NULL) {
        return NULL;
    }
    struct text **slot = &texts->slots[hash % TEXTS_SLOTS];
    *made = (struct text){.next = *slot, .hash = hash, .len = (uint8_t)text.len};
    memcpy(made->bytes, text.ptr, text.len);
    if (handles_add(&texts->handles, made, &made->handle)) {
        free(made);
        return NULL;
    }
    *slot = made;
    texts->bytes += bytes;
    return made;
}

text_id texts_hold(struct texts *texts, struct slice text)
{
    _Static_assert(TEXT_BYTES <= UINT8_MAX, "its length is one byte");
    text = slice_first(text, TEXT_BYTES);
    if (text.len == 0) {
        return 0;
    }
    uint32_t hash = (uint32_t)hash_checksum(text);
    bool room;
    struct text *kept = find(texts, text, hash, &room);
    kept = kept == NULL && room ? add(texts, text, hash) : kept;
    if (kept == NULL || kept->uses == UINT32_MAX) {
        return 0;
    }
    kept->uses++;
    return kept->handle + 1;
}

static struct text *at(const struct texts *texts, text_id id)
{
    struct text *kept = handles_get(&texts->handles, id - 1);
    MX_ASSERT(kept != NULL);
    return kept;
}

text_id texts_share(struct texts *texts, text_id id)
{
    if (id == 0 || at(texts, id)->uses == UINT32_MAX) {
        return 0;
    }
    at(texts, id)->uses++;
    return id;
}

void texts_drop(struct texts *texts, text_id id)
{
    if (id == 0) {
        return;
    }
    struct text *kept = at(texts, id);
    MX_ASSERT(kept->uses > 0);
    if (--kept->uses > 0) {
        return;
    }
    struct text **slot = &texts->slots[kept->hash % TEXTS_SLOTS];
    while (*slot != kept) {
        slot = &(*slot)->next;
    }
    *slot = kept->next;
    texts->bytes -= bytes_of(kept->len);
    handles_remove(&texts->handles, kept->handle);
    free(kept);
}

struct slice texts_get(const struct texts *texts, text_id id)
{
    if (id == 0) {
        return SLICE_EMPTY;
    }
    const struct text *kept = at(texts, id);
    return slice_of(kept->bytes, kept->len);
}
