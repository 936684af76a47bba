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
#include "publish_world.h"

#include "admin/tls_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct publisher *publisher;

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
    if (err || !is_committed) {
        publisher_cancel(publisher); /* also of a refusal, as admin/api_set does */
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

/* A change that is asked for while a committed one is late takes nothing of that back, though it is
 * cancelled when it is refused. */
static void publish_behind_a_late_one(void)
{
    uint64_t number = 1;
    mx_err err = change(number, true);
    if (err && committed_now() == number) {
        no_patience = true;
        err = change(++number, true);
        no_patience = false;
        while (publisher_behind(publisher) >= 0) {
            take_messages(NULL, 0);
        }
        publisher_settle(publisher);
        model_check(publisher_generation(publisher) == committed_now(),
                    "what was committed is not in force");
    }
    if (err) {
        err = change(++number, true);
    }
    if (err) {
        err = change(++number, true);
    }
    model_check(err == MX_OK, "the next change does not go through");
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
        while (is_committed && publisher_behind(publisher) >= 0) {
            take_messages(NULL, 0);
        }
        publisher_settle(publisher);
        model_check(!is_committed || publisher_generation(publisher) == number,
                    "a change that came late does not end by itself");
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
    world_reset();
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
    run("a change behind one that is late", publish_behind_a_late_one, receive_right, 4, false);
    run("seeded: an answer before the old is let go", publish_two, receive_answering_first, 3,
        true);
    run("seeded: a change shows when it is prepared", publish_after_cancel, receive_showing_early,
        3, true);
    run("seeded: the image before its records", publish_two, receive_image_first, 3, true);
    printf("%u passed, %u failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
