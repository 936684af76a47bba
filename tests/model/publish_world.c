#include "publish_world.h"

#include "admin/bindings.h"
#include "admin/config_build.h"
#include "admin/tls_files.h"
#include "admin/web.h"
#include "io/clock.h"

#include <stdlib.h>
#include <string.h>

enum { ARENA_BYTES = 16 * 1024 };

#define LATE_NS (UINT64_C(1000) * MX_NS_PER_MS * 1000)

struct core cores[CORES];
struct config configs[CHANGES_MAX];
struct dir_record records[CHANGES_MAX];
static struct dir_change items[CHANGES_MAX];
uint64_t building;
static uint64_t committed;

__attribute__((no_sanitize_thread)) uint64_t committed_now(void)
{
    return committed;
}

__attribute__((no_sanitize_thread)) void commit(uint64_t number)
{
    committed = number;
}

/* --- memory ------------------------------------------------------------------------------------
 *
 * Of the publisher (compiled with calloc and free by these names): never reused, and what is freed
 * is written over, so that a later use is a race or reads GONE. */

void *model_calloc(size_t count, size_t bytes);
void model_free(void *pointer);

static _Alignas(16) uint8_t arena[ARENA_BYTES];
static size_t arena_used;

void *model_calloc(size_t count, size_t bytes)
{
    size_t len = (count * bytes + 15) / 16 * 16 + 16;
    if (arena_used + len > sizeof arena) {
        exit(2);
    }
    uint64_t *block = (uint64_t *)(void *)(arena + arena_used);
    memset(block, 0, len);
    block[0] = (len - 16) / sizeof(uint64_t);
    arena_used += len;
    return block + 2;
}

void model_free(void *pointer)
{
    uint64_t *block = pointer;
    for (uint64_t i = 0; block != NULL && i < block[-2]; i++) {
        block[i] = GONE;
    }
}

/* --- channels ----------------------------------------------------------------------------------
 */

struct model_event events[CORES + 1];
static struct mbox_msg *boxes[CORES + 1][CORES + 1]; /* [to][from] */

__attribute__((no_sanitize_thread)) void send(unsigned from, unsigned to, struct mbox_msg *msg)
{
    model_set(&events[to]);
    model_check(boxes[to][from] == NULL, "a message beside another");
    boxes[to][from] = msg;
}

__attribute__((no_sanitize_thread)) struct mbox_msg *take(unsigned to, unsigned from)
{
    struct mbox_msg *msg = boxes[to][from];
    boxes[to][from] = NULL;
    return msg;
}

mx_err mbox_send(struct mbox_hub *hub, unsigned from, unsigned to, struct mbox_msg *msg)
{
    (void)hub;
    send(from, to, msg);
    return MX_OK;
}

void take_messages(void *arg, unsigned timeout_ms)
{
    (void)arg;
    (void)timeout_ms;
    model_wait(&events[PUBLISHER]);
    struct mbox_msg *taken[CORES]; /* first all that are there at the wake-up */
    for (unsigned i = 0; i < CORES; i++) {
        taken[i] = take(PUBLISHER, i);
    }
    for (unsigned i = 0; i < CORES; i++) {
        if (taken[i] != NULL) {
            taken[i]->receive(taken[i], NULL);
        }
    }
}

/* The publisher's patience ends when the clock's thread says so, once; it stays so. Without
 * patience it ends as soon as it has begun. */
bool has_clock, no_patience;
static bool is_late;
static uint64_t passed_ns;
atomic_uint late;

uint64_t clock_monotonic_ns(void)
{
    is_late = is_late || (has_clock && atomic_load(&late) != 0);
    passed_ns += no_patience ? LATE_NS : 0;
    return passed_ns + (is_late ? LATE_NS : 0);
}

int64_t clock_wall_ms(void)
{
    return 0;
}

/* --- what the publisher uses -------------------------------------------------------------------
 */

mx_err config_build(struct config **out_config, struct store *store, enum config_parts parts,
                    const struct reg_type **out_type, struct config_problem *problem)
{
    (void)store;
    (void)parts;
    (void)out_type;
    (void)problem;
    configs[building].image.generation = building;
    *out_config = &configs[building];
    return MX_OK;
}

void config_free(struct config *config)
{
    if (config != NULL) {
        model_check(config->image.generation != GONE, "an image is freed twice");
        config->image.generation = GONE;
    }
}

mx_err record_changes_make(struct record_changes *out, struct store *store,
                           const struct object_change *changes, size_t count)
{
    (void)store;
    (void)changes;
    (void)count;
    records[building].object_id = building;
    items[building] = (struct dir_change){.kind = DIR_PUT_ADDRESS, .address = &records[building]};
    out->items = &items[building];
    out->count = 1;
    out->addresses_put = 1;
    return MX_OK;
}

void dir_change_free(struct records *all, enum dir_change_kind kind, const void *record)
{
    (void)all;
    struct dir_record *address = (struct dir_record *)(uintptr_t)record;
    (void)kind;
    if (address != NULL) {
        model_check(address->object_id != GONE, "a record is freed twice");
        address->object_id = GONE;
    }
}

void record_changes_free(struct record_changes *changes, bool taken)
{
    if (changes->count > 0 && !taken) {
        dir_change_free(NULL, DIR_PUT_ADDRESS, changes->items[0].address);
    }
    changes->items = NULL;
    changes->count = 0;
}

uint64_t store_generation(const struct store *store)
{
    (void)store;
    return committed_now();
}

unsigned bindings_open_now;
bool sockets_open;

mx_err bindings_open(struct bindings *out, const struct image *image, const struct image *present,
                     unsigned count, unsigned patience_ms, struct config_problem *problem)
{
    static int fds[CORES];
    (void)image;
    (void)present;
    (void)patience_ms;
    (void)problem;
    *out = (struct bindings){.fds = fds, .count = 1, .cores = count};
    bindings_open_now++;
    sockets_open = true;
    return MX_OK;
}

void bindings_free(struct bindings *bindings)
{
    bindings_open_now -= bindings->fds != NULL;
    *bindings = (struct bindings){0};
}

void bindings_shut(struct bindings *bindings)
{
    sockets_open = bindings->fds == NULL && sockets_open;
}

void bindings_close(struct bindings *bindings)
{
    bindings_shut(bindings);
    bindings_free(bindings);
}

/* --- what a core uses --------------------------------------------------------------------------
 */

mx_err directory_reserve(struct directory *dir, size_t domains, size_t addresses)
{
    (void)domains;
    (void)addresses;
    bool fails = dir->fails;
    dir->fails = false;
    return fails ? MX_ERR_NOMEM : MX_OK;
}

const struct dir_record *directory_find_address(const struct directory *dir, uint64_t domain_id,
                                                struct slice local)
{
    (void)domain_id;
    (void)local;
    return dir->address;
}

mx_err directory_put_address(struct directory *dir, const struct dir_record *address)
{
    dir->address = address;
    return MX_OK;
}

static struct core *core_of(struct deliver *deliver)
{
    return mx_container_of(mx_container_of(deliver, struct service, deliver), struct core, service);
}

mx_err deliver_prepare(struct deliver *deliver, const struct image *image)
{
    model_check(core_of(deliver)->prepared == NULL, "a change is prepared beside another");
    core_of(deliver)->prepared = image;
    return MX_OK;
}

void deliver_switch(struct deliver *deliver, const struct image *image)
{
    model_check(core_of(deliver)->prepared == image, "what is applied was not prepared");
    core_of(deliver)->prepared = NULL;
}

void deliver_cancel(struct deliver *deliver)
{
    core_of(deliver)->prepared = NULL;
}

mx_err listeners_prepare(struct service *service, const struct image *image, const int *fds)
{
    (void)service;
    (void)image;
    return fds[0] == 0 ? MX_OK : MX_ERR_BUG;
}

/* There is no endpoint. */
mx_err web_prepare(struct web *web, const struct bindings_change *change, struct slice cert_pem,
                   struct slice key_pem, struct config_problem *problem)
{
    (void)change;
    (void)cert_pem;
    (void)key_pem;
    (void)problem;
    model_check(web == NULL, "there is an endpoint");
    return MX_OK;
}

void shard_after(struct shard *shard, struct timer *timer, uint64_t ns)
{
    (void)shard;
    (void)timer;
    (void)ns;
    model_check(false, "a change of one record is applied in slices");
}

/* --- setting up --------------------------------------------------------------------------------
 */

void world_reset(void)
{
    memset(configs, 0, sizeof configs);
    memset(records, 0, sizeof records);
    memset(events, 0, sizeof events);
    memset(boxes, 0, sizeof boxes);
    arena_used = 0;
    bindings_open_now = 0;
    sockets_open = false;
    building = committed = 0;
    atomic_init(&late, 0);
    is_late = no_patience = false;
    passed_ns = 0;
}
