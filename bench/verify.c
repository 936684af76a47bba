#include "bench/verify.h"

#include "bench/args.h"
#include "bench/ledger.h"
#include "bench/verify_read.h"
#include "core/hash.h"
#include "core/text.h"

#include <stdlib.h>

/* How long the connection of a process that is dead by now may wait to be accepted. */
#define BACKLOG_US UINT64_C(300000)

struct findings {
    uint64_t acked, refused, unsure;       /* copies by the senders */
    uint64_t delivered, bounced, unmarked; /* copies by the receivers */
    uint64_t unacked_arrived;              /* unsure and there: allowed */
    uint64_t lost, duplicated, altered, unexpected, reordered;
    uint64_t excused_kill, excused_silent; /* repeats that are allowed */
    uint64_t excused_age_us; /* the longest time from a copy to the kill that excuses its repeat */
    uint64_t named;
};

struct judge {
    const struct verify_conf *conf;
    struct verify_input in;
    struct findings found;
};

static bool is_sender(const struct verify_record *r)
{
    return r->kind == LEDGER_ACKED || r->kind == LEDGER_REFUSED || r->kind == LEDGER_UNSURE;
}

/* --- order of the records ----------------------------------------------------------------------
 */

static int compare_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int compare_text(struct slice a, struct slice b)
{
    int order = memcmp(a.ptr, b.ptr, mx_min_size(a.len, b.len));
    return order != 0 ? order : compare_u64(a.len, b.len);
}

static bool is_file(const struct verify_record *r)
{
    return r->time_us == VERIFY_NO_TIME;
}

static uint64_t copy_us(const struct verify_record *r)
{
    return is_file(r) ? r->since_us : r->time_us;
}

static int compare_time(const struct verify_record *a, const struct verify_record *b)
{
    int order = compare_u64(copy_us(a), copy_us(b));
    return order != 0 ? order : compare_u64(a->index, b->index);
}

/* By message and recipient; what was sent before what arrived; by time. */
static int compare_copies(const void *a, const void *b)
{
    const struct verify_record *x = a, *y = b;
    int order = compare_u64(x->key, y->key);
    order = order != 0 ? order : compare_text(x->id, y->id);
    order = order != 0 ? order : compare_text(x->rcpt, y->rcpt);
    order = order != 0 ? order : is_sender(y) - is_sender(x);
    return order != 0 ? order : compare_time(x, y);
}

static bool same_copy(const struct verify_record *a, const struct verify_record *b)
{
    return a->key == b->key && slice_equal(a->id, b->id) && slice_equal(a->rcpt, b->rcpt);
}

/* --- judging -----------------------------------------------------------------------------------
 */

static void name(struct judge *j, const char *what, const struct verify_record *r)
{
    if (j->found.named++ < VERIFY_LIST_MAX) {
        fprintf(stderr, "%s: %.*s to %.*s\n", what, SLICE_ARGS(r->id), SLICE_ARGS(r->rcpt));
    }
}

/* Did a kill fall between one copy, by a process that died, and the mark that it was delivered, so
 * that the next process sent the other? *out_age_us: from that copy to the kill. */
static bool kill_between(const struct judge *j, const struct verify_record *dead,
                         const struct verify_record *next, uint64_t *out_age_us)
{
    uint64_t mark_us = j->conf->mark_ms * 1000;
    for (size_t i = 0; i < j->in.kill_count; i++) {
        const struct verify_kill *kill = &j->in.kills[i];
        bool by_the_dead = dead->since_us <= kill->after_us + BACKLOG_US;
        uint64_t age_us = kill->before_us > copy_us(dead) ? kill->before_us - copy_us(dead) : 0;
        if (by_the_dead && next->since_us >= kill->before_us &&
            age_us <= (kill->mark_us > mark_us ? kill->mark_us : mark_us)) {
            *out_age_us = age_us;
            return true;
        }
    }
    return false;
}

static void judge_repeat(struct judge *j, const struct verify_record *first,
                         const struct verify_record *second)
{
    uint64_t age_us = 0;
    /* The same file again is no other file: a restart finds it. Not so the report that follows a
     * copy when the recipient was removed meanwhile. */
    bool files = is_file(first) && is_file(second) && first->kind == second->kind;
    if (first->kind == LEDGER_SILENT) {
        j->found.excused_silent++;
    } else if (!files &&
               (kill_between(j, first, second, &age_us) ||
                /* A slow receiver may take what the dead had sent after what the next sent. */
                kill_between(j, second, first, &age_us))) {
        j->found.excused_kill++;
        j->found.excused_age_us =
            age_us > j->found.excused_age_us ? age_us : j->found.excused_age_us;
    } else {
        j->found.duplicated++;
        name(j, "DUPLICATED", second);
    }
}

static void judge_arrival(struct judge *j, const struct verify_record *sent,
                          const struct verify_record *r)
{
    j->found.bounced += r->kind == LEDGER_BOUNCED;
    j->found.delivered += r->kind != LEDGER_BOUNCED;
    if (sent == NULL || (sent->kind == LEDGER_REFUSED && r->kind != LEDGER_BOUNCED)) {
        if (j->in.senders > 0) {
            j->found.unexpected++;
            name(j, sent == NULL ? "NOBODY SENT" : "ARRIVED THOUGH REFUSED", r);
        }
    } else if (r->kind != LEDGER_BOUNCED && r->hash != sent->hash) {
        j->found.altered++;
        name(j, "ALTERED", r);
    }
}

/* All records of one message and recipient: records[0 .. count-1]. */
static void judge_copy(struct judge *j, const struct verify_record *records, size_t count)
{
    const struct verify_record *sent = is_sender(&records[0]) ? &records[0] : NULL;
    size_t at = 0;
    for (; at < count && is_sender(&records[at]); at++) {
        j->found.acked += records[at].kind == LEDGER_ACKED;
        j->found.refused += records[at].kind == LEDGER_REFUSED;
        j->found.unsure += records[at].kind == LEDGER_UNSURE;
    }
    if (at == count && sent->kind == LEDGER_ACKED) {
        j->found.lost++;
        name(j, "LOST", sent);
    }
    j->found.unacked_arrived += at < count && sent != NULL && sent->kind == LEDGER_UNSURE;
    for (size_t i = at; i < count; i++) {
        judge_arrival(j, sent, &records[i]);
        if (i > at) {
            judge_repeat(j, &records[i - 1], &records[i]);
        }
    }
}

static void judge_copies(struct judge *j)
{
    struct verify_record *records = j->in.records;
    qsort(records, j->in.record_count, sizeof *records, compare_copies);
    for (size_t at = 0; at < j->in.record_count;) {
        size_t end = at + 1;
        while (end < j->in.record_count && same_copy(&records[at], &records[end])) {
            end++;
        }
        judge_copy(j, &records[at], end - at);
        at = end;
    }
}

/* --- order of arrival --------------------------------------------------------------------------
 */

/* Of "RUN.CONNECTION.NUMBER". */
static bool split_id(struct slice id, struct slice *out_connection, uint64_t *out_number)
{
    size_t dot = id.len;
    while (dot > 0 && id.ptr[dot - 1] != '.') {
        dot--;
    }
    *out_connection = slice_first(id, dot);
    return dot > 0 && text_to_u64(out_number, slice_from(id, dot)) == MX_OK;
}

/* Keeps the first copy of everything that arrived at a known time, keyed by the sender's connection
 * and the recipient; `hash` becomes the number on that connection. */
static size_t keep_first_arrivals(struct judge *j)
{
    struct verify_record *records = j->in.records;
    struct verify_record last = {0};
    size_t kept = 0;
    for (size_t i = 0; i < j->in.record_count; i++) {
        struct verify_record r = records[i];
        struct slice connection;
        uint64_t number;
        if (is_sender(&r) || r.kind == LEDGER_BOUNCED || is_file(&r) || same_copy(&last, &r) ||
            !split_id(r.id, &connection, &number)) {
            continue;
        }
        last = r;
        records[kept] = r;
        records[kept].key = hash_checksum_next(hash_checksum(connection), r.rcpt);
        records[kept++].hash = number;
    }
    return kept;
}

static int compare_arrivals(const void *a, const void *b)
{
    const struct verify_record *x = a, *y = b;
    int order = compare_u64(x->key, y->key);
    return order != 0 ? order : compare_time(x, y);
}

/* Uses up the records. */
static void judge_order(struct judge *j)
{
    size_t count = keep_first_arrivals(j);
    struct verify_record *records = j->in.records;
    qsort(records, count, sizeof *records, compare_arrivals);
    uint64_t highest = 0;
    for (size_t i = 0; i < count; i++) {
        bool same = i > 0 && records[i].key == records[i - 1].key;
        if (same && records[i].hash < highest) {
            j->found.reordered++;
            if (j->conf->ordered) {
                name(j, "REORDERED", &records[i]);
            }
        } else {
            highest = records[i].hash;
        }
    }
}

/* --- result ------------------------------------------------------------------------------------
 */

static bool good(const struct judge *j)
{
    const struct findings *f = &j->found;
    return f->lost == 0 && f->duplicated == 0 && f->altered == 0 && f->unexpected == 0 &&
           (!j->conf->ordered || f->reordered == 0);
}

static void print_json(const struct judge *j)
{
    const struct findings *f = &j->found;
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {{"acked", f->acked},
                  {"refused", f->refused},
                  {"unsure", f->unsure},
                  {"delivered", f->delivered},
                  {"bounced", f->bounced},
                  {"unmarked", j->in.unmarked},
                  {"unacked_arrived", f->unacked_arrived},
                  {"kills", j->in.kill_count},
                  {"excused_by_kill", f->excused_kill},
                  {"excused_age_us", f->excused_age_us},
                  {"excused_by_lost_reply", f->excused_silent},
                  {"lost", f->lost},
                  {"duplicated", f->duplicated},
                  {"altered", f->altered},
                  {"unexpected", f->unexpected},
                  {"reordered", f->reordered}};
    printf("{\"good\":%s", good(j) ? "true" : "false");
    for (size_t i = 0; i < mx_countof(fields); i++) {
        printf(",\"%s\":%llu", fields[i].name, (unsigned long long)fields[i].value);
    }
    printf("}\n");
    fflush(stdout);
}

int verify_run(const struct verify_conf *conf)
{
    struct judge j = {.conf = conf};
    if (!verify_read(&j.in, conf)) {
        verify_input_fini(&j.in);
        return 2;
    }
    judge_copies(&j);
    judge_order(&j);
    if (j.found.named > VERIFY_LIST_MAX) {
        fprintf(stderr, "and %llu more\n", (unsigned long long)(j.found.named - VERIFY_LIST_MAX));
    }
    print_json(&j);
    verify_input_fini(&j.in);
    return good(&j) ? 0 : 1;
}

static int help(int code)
{
    fprintf(
        code == 0 ? stdout : stderr,
        "usage: ringmx-bench verify --ledger FILE [--ledger FILE]... [--maildir DIR]... [options]\n"
        "  --ledger FILE   of `send --ledger` or `sink --ledger`; also lines \"kill BEFORE "
        "AFTER [MARK]\",\n"
        "                  microseconds of the monotonic clock between which the server died; a "
        "MARK "
        "in\n"
        "                  microseconds is that kill's --mark-ms if it is longer\n"
        "  --maildir DIR   a folder with new/ and cur/\n"
        "  --mark-ms N     from a next hop's reply to the durable mark (default 2000): a copy "
        "that\n"
        "                  comes again is allowed if a kill fell into that time\n"
        "  --ordered       copies in another order than sent are a fault too\n"
        "Exit code: 0 good; 1 lost, duplicated, altered or unexpected copies; 2 unreadable input.\n"
        "One JSON line goes to standard output, the first findings to standard error.\n"
        "Copies are counted: a message to two recipients has two.\n");
    return code;
}

static void add_path(struct args *args, const char **paths, unsigned *count)
{
    const char *path = args_text(args);
    if (*count == VERIFY_FILES_MAX) {
        fprintf(stderr, "ringmx-bench: %s: at most %d\n", args->name, VERIFY_FILES_MAX);
        args->failed = true;
        return;
    }
    paths[(*count)++] = path;
}

int verify_command(int argc, char **argv)
{
    struct verify_conf conf = {.mark_ms = 2000};
    struct args args;
    args_init(&args, argc, argv);
    while (args_next(&args)) {
        if (args_is(&args, "--ledger")) {
            add_path(&args, conf.ledgers, &conf.ledger_count);
        } else if (args_is(&args, "--maildir")) {
            add_path(&args, conf.maildirs, &conf.maildir_count);
        } else if (args_is(&args, "--mark-ms")) {
            conf.mark_ms = args_number(&args, 0, 3600000);
        } else if (args_is(&args, "--ordered")) {
            conf.ordered = true;
        } else if (args_is(&args, "--help")) {
            return help(0);
        } else {
            args_unknown(&args);
        }
    }
    return args.failed || conf.ledger_count == 0 ? help(2) : verify_run(&conf);
}
