#include "smtp/keys.h"

#include "core/check.h"
#include "core/hash.h"
#include "smtp/service.h"

#include <stdlib.h>

/* A question on its way to the owner of its key, and back. */
struct key_tour {
    struct tour tour;
    unsigned home;
    uint32_t ask; /* at home: handle, and what proves that it is still the same */
    uint64_t number;
    enum key_op op;
    mx_err err;
    bool found;
    struct key_value value; /* its text is behind the key */
    uint32_t key_len;
    uint8_t bytes[KEY_NAME_MAX + KEY_TEXT_MAX];
};

static struct keys *keys_of(struct shard *at)
{
    struct service *service = at->service;
    return &service->keys;
}

/* --- the owner ---------------------------------------------------------------------------------
 */

static mx_err carry_out(struct keys *keys, const struct key_request *request, bool *out_found,
                        struct key_value *out)
{
    uint64_t now_ns = keys->shard->now_ns;
    mx_err err = keys->table != NULL ? MX_OK : key_table_new(&keys->table, keys->seed);
    *out_found = false;
    *out = (struct key_value){.type = KEY_INTEGER};
    if (err) {
        return err;
    }
    switch (request->op) {
    case KEY_GET:
    case COUNTER_GET:
        *out_found =
            key_table_get(keys->table, request->op == KEY_GET ? KEY_IS_VALUE : KEY_IS_COUNTER,
                          request->key, now_ns, out);
        return MX_OK;
    case KEY_PUT:
        *out = request->value;
        err = key_table_put(keys->table, request->key, &request->value, now_ns);
        break;
    case COUNTER_ADD:
        err =
            key_table_add(keys->table, request->key, request->value.integer, now_ns, &out->integer);
        break;
    }
    *out_found = err == MX_OK;
    return err;
}

/* --- the way there and back --------------------------------------------------------------------
 */

static void set_text(struct key_tour *tour, const struct key_value *value)
{
    uint8_t *at = tour->bytes + tour->key_len;
    struct slice text = value->type == KEY_TEXT ? value->text : SLICE_EMPTY;
    MX_ASSERT(text.len <= KEY_TEXT_MAX);
    tour->value = *value;
    if (text.len > 0) {
        memmove(at, text.ptr, text.len);
    }
    tour->value.text = slice_of(at, text.len);
}

static void at_home(struct keys *keys, struct key_tour *tour)
{
    struct key_question *question = handles_get(&keys->asks, tour->ask);
    if (question != NULL && question->number == tour->number) {
        keys_cancel(keys, question);
        question->done(question, tour->err, tour->found, &tour->value);
    }
    free(tour);
}

static void arrive(struct tour *arrived, struct shard *at)
{
    struct keys *keys = keys_of(at);
    struct key_tour *tour = mx_container_of(arrived, struct key_tour, tour);
    if (keys->tours.self == tour->home) {
        at_home(keys, tour);
        return;
    }
    struct key_request request = {
        .op = tour->op, .key = slice_of(tour->bytes, tour->key_len), .value = tour->value};
    struct key_value value;
    tour->err = carry_out(keys, &request, &tour->found, &value);
    set_text(tour, &value);
    tours_send(&keys->tours, &tour->tour, tour->home);
}

static mx_err send(struct keys *keys, struct key_question *question,
                   const struct key_request *request, unsigned owner)
{
    struct key_tour *tour = malloc(sizeof *tour);
    mx_err err = tour == NULL ? MX_ERR_NOMEM : handles_add(&keys->asks, question, &question->ask);
    if (err) {
        free(tour);
        return err;
    }
    question->open = true;
    question->number = ++keys->asked;
    tour->tour.arrive = arrive;
    tour->home = keys->tours.self;
    tour->ask = question->ask;
    tour->number = question->number;
    tour->op = request->op;
    tour->key_len = (uint32_t)request->key.len;
    if (request->key.len > 0) {
        memcpy(tour->bytes, request->key.ptr, request->key.len);
    }
    set_text(tour, &request->value);
    tours_send(&keys->tours, &tour->tour, owner);
    return MX_OK;
}

void keys_ask(struct keys *keys, struct key_question *question, const struct key_request *request)
{
    struct key_value value = {.type = KEY_INTEGER};
    bool found = false;
    bool is_long = request->key.len > KEY_NAME_MAX ||
                   (request->value.type == KEY_TEXT && request->value.text.len > KEY_TEXT_MAX);
    unsigned owner = tours_owner(&keys->tours, hash_seeded(request->key, keys->seed));
    mx_err err = keys->tours.stopping ? MX_ERR_SHUTDOWN : is_long ? MX_ERR_LIMIT : MX_OK;
    question->open = false;
    if (!err && owner != keys->tours.self) {
        err = send(keys, question, request, owner);
        if (!err) {
            return;
        }
    } else if (!err) {
        err = carry_out(keys, request, &found, &value);
    }
    question->done(question, err, found, &value);
}

void keys_cancel(struct keys *keys, struct key_question *question)
{
    if (question->open) {
        question->open = false;
        handles_remove(&keys->asks, question->ask);
    }
}

/* --- life --------------------------------------------------------------------------------------
 */

mx_err keys_open(struct keys *keys, struct shard *shard, uint64_t seed)
{
    *keys = (struct keys){.shard = shard, .seed = seed};
    tours_open(&keys->tours, shard);
    answer_memory_init(&keys->answers);
    return handles_init(&keys->asks, KEYS_ASKS_MAX);
}

void keys_stop(struct keys *keys)
{
    const struct key_value none = {.type = KEY_INTEGER};
    tours_stop(&keys->tours);
    for (uint32_t i = 0; i < keys->asks.made; i++) {
        struct key_question *question = handles_get(&keys->asks, i);
        if (question != NULL) { /* the answer would be lost */
            keys_cancel(keys, question);
            question->done(question, MX_ERR_SHUTDOWN, false, &none);
        }
    }
}

void keys_close(struct keys *keys)
{
    key_table_free(keys->table);
    handles_fini(&keys->asks);
    tours_close(&keys->tours);
    *keys = (struct keys){0};
}

void keys_stats(const struct keys *keys, struct key_table_stats *out)
{
    *out = (struct key_table_stats){0};
    if (keys->table != NULL) {
        key_table_stats(keys->table, out);
    }
}
