/* Every interleaving of publishing a configuration: the publisher (admin/publish.c) and two cores
 * (smtp/service_update.c), the product's code, over a mailbox that is one step (check_model.c
 * shows its own orders). A change is prepared on all cores, then committed and
 * applied, or cancelled; a core may refuse it; the publisher's patience may end at any moment.
 *
 * Between messages the cores use what they have. Checked: nothing shows before its commit; an image
 * never shows before its records; when apply answers, every core has the change; what was replaced
 * or cancelled is freed once, and nobody uses it then or later; afterwards the next change goes
 * through. Seeded bugs in the cores' part are found here, those in the publisher's by tests/canary.
 */
#include "model.h"

#include "admin/bindings.h"
#include "admin/config_build.h"
#include "admin/publish.h"
#include "admin/tls_files.h"
#include "admin/web.h"
#include "io/clock.h"
#include "io/tls.h"
#include "smtp/service.h"
#include "smtp/srv_conn.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CORES = 2, PUBLISHER = 2, CLOCK = 3, CHANGES_MAX = 8, ARENA_BYTES = 16 * 1024 };

#define GONE UINT64_C(0xdeaddeaddeaddead) /* what was freed reads as this */
#define LATE_NS (UINT64_C(1000) * MX_NS_PER_MS * 1000)

struct directory {
    const struct dir_record *address;
    bool fails;
};

struct core {
    struct shard shard;
    struct service service;
    struct directory directory;
    const struct image *prepared;
    struct mbox_msg stop_msg;
    bool stopped;
};

static struct core cores[CORES];
static struct publisher *publisher;
static struct config configs[CHANGES_MAX];     /* by number of the change; 0: of the start */
static struct dir_record records[CHANGES_MAX]; /* as well */
static struct dir_change items[CHANGES_MAX];
static uint64_t building, committed; /* numbers of changes */

/* Known to the observer, not a memory that the threads share. */
__attribute__((no_sanitize_thread)) static uint64_t committed_now(void)
{
    return committed;
}

__attribute__((no_sanitize_thread)) static void commit(uint64_t number)
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

static struct model_event events[CORES + 1];
static struct mbox_msg *boxes[CORES + 1][CORES + 1]; /* [to][from] */

/* Message and wake-up are one step: what the sender did before happens before what the receiver
 * does then. */
__attribute__((no_sanitize_thread)) static void send(unsigned from, unsigned to,
                                                     struct mbox_msg *msg)
{
    model_set(&events[to]);
    model_check(boxes[to][from] == NULL, "a message beside another");
    boxes[to][from] = msg;
}

__attribute__((no_sanitize_thread)) static struct mbox_msg *take(unsigned to, unsigned from)
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

static void take_messages(void *arg, unsigned timeout_ms)
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

/* The publisher's patience ends when the clock's thread says so, once; it stays so. */
static bool has_clock, is_late;
static atomic_uint late;

uint64_t clock_monotonic_ns(void)
{
    is_late = is_late || (has_clock && atomic_load(&late) != 0);
    return is_late ? LATE_NS : 0;
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

void records_init(struct records *all)
{
    (void)all;
}

void records_free(struct records *all)
{
    (void)all;
}

bool reg_has_address(const struct reg_type *type)
{
    (void)type;
    return false;
}

uint64_t store_generation(const struct store *store)
{
    (void)store;
    return committed_now();
}

const char *store_problem(const struct store *store)
{
    (void)store;
    return "";
}

void config_problem_set(struct config_problem *problem, const char *format, ...)
{
    (void)problem;
    (void)format;
}

static unsigned bindings_open_now;
static bool sockets_open; /* of the change under way, in nobody's hands yet */

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

mx_err tls_files_load(struct tls_files *files, const struct image *image, const char *dir,
                      int64_t wall_ms, const char **out_problem)
{
    (void)image;
    (void)dir;
    (void)wall_ms;
    (void)out_problem;
    *files = (struct tls_files){0};
    return MX_OK;
}

void tls_files_free(struct tls_files *files)
{
    (void)files;
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

const struct dir_domain *directory_find_domain(const struct directory *dir, struct slice name)
{
    (void)dir;
    (void)name;
    return NULL;
}

mx_err directory_put_domain(struct directory *dir, const struct dir_domain *domain)
{
    (void)dir;
    (void)domain;
    return MX_ERR_BUG;
}

void directory_remove_domain(struct directory *dir, struct slice name)
{
    (void)dir;
    (void)name;
}

void directory_remove_address(struct directory *dir, uint64_t domain_id, struct slice local)
{
    (void)dir;
    (void)domain_id;
    (void)local;
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

/* What next hops said is a core's own. */
void verify_forget_address(struct verify *v, uint64_t domain_id, struct slice local)
{
    (void)v;
    (void)domain_id;
    (void)local;
}

void verify_forget_all(struct verify *v)
{
    (void)v;
}

mx_err listeners_prepare(struct service *service, const struct image *image, const int *fds)
{
    (void)service;
    (void)image;
    return fds[0] == 0 ? MX_OK : MX_ERR_BUG;
}

mx_err service_tune_prepare(struct service *service, const struct image *image)
{
    (void)service;
    (void)image;
    return MX_OK;
}

void service_tune_cancel(struct service *service)
{
    (void)service;
}

void service_tune(struct service *service, const struct image *image)
{
    (void)service;
    (void)image;
}

void service_resolver_switch(struct service *service)
{
    (void)service;
}

void srv_conn_recheck(struct srv_conn *conn)
{
    (void)conn;
}

bool directory_settle(struct directory *dir, size_t slots)
{
    (void)dir;
    (void)slots;
    return true;
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

void web_apply(struct web *web)
{
    (void)web;
}

void web_cancel(struct web *web)
{
    (void)web;
}

void listeners_switch(struct service *service, const struct image *image)
{
    (void)service;
    (void)image;
}

void listeners_start(struct service *service)
{
    (void)service;
}

void listeners_cancel(struct service *service)
{
    (void)service;
}

mx_err tls_server_ctx_new(struct tls_ctx **out_ctx, const struct tls_server_conf *conf)
{
    (void)out_ctx;
    (void)conf;
    return MX_ERR_BUG;
}

void tls_ctx_free(struct tls_ctx *ctx)
{
    (void)ctx;
}

void shard_after(struct shard *shard, struct timer *timer, uint64_t ns)
{
    (void)shard;
    (void)timer;
    (void)ns;
    model_check(false, "a change of one record is applied in slices");
}

void wheel_cancel(struct wheel *wheel, struct timer *timer)
{
    (void)wheel;
    (void)timer;
}

/* --- the threads -------------------------------------------------------------------------------
 */

/* What a session does: it uses the image and a record of the directory. */
static void mail(const struct core *core)
{
    uint64_t image = core->service.image->generation;
    uint64_t record = core->directory.address->object_id;
    model_check(image != GONE, "an image is used after it was freed");
    model_check(record != GONE, "a record is used after it was freed");
    model_check(image <= record, "an image shows before its records");
    model_check(record <= committed_now(), "a change shows before it is committed");
}

static void (*receive)(struct mbox_msg *msg, struct core *core);

static void core_run(struct core *core, unsigned index)
{
    while (!core->stopped) {
        mail(core);
        model_wait(&events[index]);
        struct mbox_msg *msg = take(index, PUBLISHER);
        mail(core);
        if (msg == &core->stop_msg) {
            core->stopped = true;
        } else {
            receive(msg, core);
        }
    }
}

static void receive_right(struct mbox_msg *msg, struct core *core)
{
    msg->receive(msg, &core->shard);
}

/* A seeded bug: an apply is answered before the image and the records were let go. */
static void receive_answering_first(struct mbox_msg *msg, struct core *core)
{
    struct service_update *update = mx_container_of(msg, struct service_update, msg);
    if (update->step != UPDATE_APPLY) {
        msg->receive(msg, &core->shard);
        return;
    }
    const struct service_change *change = update->change;
    const struct image *image = change->image;
    send(core->shard.conf.id, PUBLISHER, &update->reply);
    mail(core);
    core->directory.address = change->records[0].address;
    core->service.image = image;
}

/* A seeded bug: a change shows when it is prepared. */
static void receive_showing_early(struct mbox_msg *msg, struct core *core)
{
    struct service_update *update = mx_container_of(msg, struct service_update, msg);
    if (update->step == UPDATE_PREPARE) {
        core->directory.address = update->change->records[0].address;
        core->service.image = update->change->image;
        mail(core);
    }
    msg->receive(msg, &core->shard);
}

/* A seeded bug: the image shows, and mail uses it, before the records are there. */
static void receive_image_first(struct mbox_msg *msg, struct core *core)
{
    struct service_update *update = mx_container_of(msg, struct service_update, msg);
    if (update->step == UPDATE_APPLY) {
        core->service.image = update->change->image;
        mail(core);
    }
    msg->receive(msg, &core->shard);
}

static mx_err change(uint64_t number, bool is_committed)
{
    static const struct reg_type type = {.singleton = true};
    const struct object_change one = {.type = &type, .id = 1, .before = NULL};
    const struct reg_type *at_fault;
    struct config_problem problem;
    building = number;
    mx_err err = publisher_prepare(publisher, NULL, &one, 1, &at_fault, &problem);
    if (!err && !is_committed) {
        publisher_cancel(publisher);
    }
    if (err || !is_committed) {
        model_check(!sockets_open, "a change that was given up keeps its sockets");
        return err;
    }
    sockets_open = false; /* the cores' from now on */
    commit(number);
    err = publisher_apply(publisher, number, &problem);
    for (unsigned i = 0; !err && i < CORES; i++) {
        model_check(cores[i].service.generation == number &&
                        cores[i].service.image->generation == number &&
                        cores[i].directory.address->object_id == number,
                    "apply has answered, and a core has another configuration");
    }
    return err;
}

static void stop_cores(void)
{
    for (unsigned i = 0; i < CORES; i++) {
        send(PUBLISHER, i, &cores[i].stop_msg);
    }
}

static void (*publish)(void);

static void thread(unsigned index)
{
    if (index < CORES) {
        core_run(&cores[index], index);
    } else if (index == PUBLISHER) {
        publish();
        stop_cores();
    } else {
        atomic_store(&late, 1);
        model_set(&events[PUBLISHER]);
    }
}

static void publish_two(void)
{
    model_check(change(1, true) == MX_OK, "the first change");
    model_check(change(2, true) == MX_OK, "the second change");
}

static void publish_after_cancel(void)
{
    model_check(change(1, false) == MX_OK, "the change that is cancelled");
    model_check(change(2, true) == MX_OK, "the change after it");
}

static void publish_after_refusal(void)
{
    model_check(change(1, true) == MX_ERR_NOMEM, "a core that refuses");
    model_check(change(2, true) == MX_OK, "the change after the refusal");
}

/* Whenever the patience ends: nothing was changed, or it is committed and comes late. */
static void publish_impatient(void)
{
    uint64_t number = 1;
    mx_err err = change(number, true);
    if (err) {
        bool is_committed = committed_now() == number;
        model_check(err == MX_ERR_TIMEOUT, "another error than lateness");
        model_check(!is_committed || publisher_behind(publisher) >= 0 ||
                        publisher_generation(publisher) == 0,
                    "nobody is behind a change that came late");
        err = change(++number, true);
    }
    if (err) {
        err = change(++number, true);
    }
    model_check(err == MX_OK, "the next change does not go through");
}

/* --- setting up --------------------------------------------------------------------------------
 */

static bool core_refuses;

static void setup(void)
{
    static const struct tls_files no_files;
    const struct publisher_conf conf = {.cores = CORES,
                                        .index = PUBLISHER,
                                        .wait = take_messages,
                                        .tls_dir = "",
                                        .config = &configs[0],
                                        .tls = &no_files};
    memset(cores, 0, sizeof cores);
    memset(configs, 0, sizeof configs);
    memset(records, 0, sizeof records);
    memset(events, 0, sizeof events);
    memset(boxes, 0, sizeof boxes);
    arena_used = 0;
    bindings_open_now = 0;
    sockets_open = false;
    building = committed = 0;
    atomic_init(&late, 0);
    is_late = false;
    for (unsigned i = 0; i < CORES; i++) {
        struct core *core = &cores[i];
        core->shard.conf.id = i;
        core->shard.service = &core->service;
        core->service.shard = &core->shard;
        core->service.directory = &core->directory;
        core->service.image = &configs[0].image;
        core->directory.address = &records[0];
        core->directory.fails = core_refuses && i == 1;
    }
    if (publisher_new(&publisher, &conf) != MX_OK) {
        exit(2);
    }
}

/* Everything that was made is in force or was freed. */
static void check_end(void)
{
    uint64_t last = cores[0].service.image->generation;
    for (unsigned i = 0; i < CORES; i++) {
        mail(&cores[i]);
        model_check(cores[i].stopped && cores[i].prepared == NULL, "something is still prepared");
        model_check(cores[i].service.image->generation == last, "the cores differ");
    }
    for (uint64_t i = 1; i <= building; i++) {
        model_check(i == last || configs[i].image.generation == GONE ||
                        configs[i].image.generation == 0,
                    "an image was not freed");
        model_check(i == last || records[i].object_id == GONE || records[i].object_id == 0,
                    "a record was not freed");
    }
    model_check(records[0].object_id == GONE, "the first record was not freed");
    model_check(bindings_open_now == 0, "sockets were forgotten");
    publisher_free(publisher);
    model_check(configs[last].image.generation == GONE, "the last image was not freed");
}

/* --- running -----------------------------------------------------------------------------------
 */

static unsigned passed, failed;

static void run(const char *name, void (*steps)(void),
                void (*with)(struct mbox_msg *, struct core *), unsigned threads, bool error)
{
    const struct model_scenario scenario = {name, threads, setup, thread, check_end};
    struct model_result result;
    publish = steps;
    receive = with;
    has_clock = threads > CLOCK;
    core_refuses = steps == publish_after_refusal;
    model_run(&result, &scenario, NULL);
    bool good = (result.error != NULL) == error;
    passed += good;
    failed += !good;
    printf("%s %s: %llu executions, %llu pruned%s%s\n", good ? "ok" : "FAIL", name,
           (unsigned long long)result.executions, (unsigned long long)result.pruned,
           result.error != NULL ? "; found: " : "", result.error != NULL ? result.error : "");
    if (!good && result.error != NULL) {
        printf("%s", result.trace);
    }
}

int main(void)
{
    run("two changes", publish_two, receive_right, 3, false);
    run("a change after one that was cancelled", publish_after_cancel, receive_right, 3, false);
    run("a change after one that a core refused", publish_after_refusal, receive_right, 3, false);
    run("patience that ends at any moment", publish_impatient, receive_right, 4, false);
    run("seeded: an answer before the old is let go", publish_two, receive_answering_first, 3,
        true);
    run("seeded: a change shows when it is prepared", publish_after_cancel, receive_showing_early,
        3, true);
    run("seeded: the image before its records", publish_two, receive_image_first, 3, true);
    printf("%u passed, %u failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
