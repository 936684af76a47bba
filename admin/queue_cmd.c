#include "admin/queue_cmd.h"

#include "admin/data_dir.h"
#include "core/log.h"
#include "core/text.h"
#include "core/timefmt.h"
#include "io/sys.h"
#include "smtp/spool_recover.h"

#include <stdlib.h>
#include <string.h>

struct listing {
    struct journal_store *store;
    struct qid wanted; /* for show; none: list */
    FILE *out, *err;
    uint64_t shown;
    bool failed;
};

/* Nothing that would act on a terminal: C0, DEL, and C1 as U+0080 to U+009F or as bytes. */
static void print_slice(FILE *out, struct slice text)
{
    while (text.len > 0) {
        size_t len = text_character(text);
        if (len == 0 || text_is_control(slice_first(text, len))) {
            fputc('?', out);
        } else {
            (void)fwrite(text.ptr, 1, len, out);
        }
        text = slice_from(text, len > 0 ? len : 1);
    }
}

/* As in the log: no text of others looks like the end of its field. */
static void print_quoted(FILE *out, struct slice text)
{
    fputc('"', out);
    while (text.len > 0) {
        size_t plain = mx_min_size(slice_find(text, '"'), slice_find(text, '\\'));
        print_slice(out, slice_first(text, plain));
        if (plain < text.len) {
            fprintf(out, "\\x%02x", text.ptr[plain++]);
        }
        text = slice_from(text, plain);
    }
    fputc('"', out);
}

static void print_time(FILE *out, int64_t wall_ms)
{
    char text[40];
    struct writer w = writer_init(text, sizeof text);
    put_rfc3339_ms(&w, wall_ms);
    print_slice(out, writer_slice(&w));
}

static void print_id(FILE *out, struct qid id)
{
    char text[QID_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    qid_print(&w, id);
    print_slice(out, writer_slice(&w));
}

static void print_rcpt(FILE *out, const struct spool_listed *m, const struct envelope *env,
                       uint32_t i)
{
    static const char *const states[] = {"pending", "delivered", "failed"};
    const struct rcpt_state *state = &m->rcpts[i];
    fprintf(out, "  to=<");
    print_slice(out, env->rcpts[i].address);
    fprintf(out, "> state=%s attempts=%u", states[state->status], state->attempts);
    if (rcpt_waits(state)) {
        fprintf(out, " next=");
        print_time(out, state->due_ms);
    } else if (state->status == RCPT_PENDING) {
        fprintf(out, " held");
    }
    if (state->flags & RCPT_EXPIRES) {
        fprintf(out, " expires=");
        print_time(out, state->expires_ms);
    }
    if (state->code != 0) {
        fprintf(out, " code=%u", state->code);
    }
    struct slice reason = texts_get(m->texts, state->reply);
    if (reason.len > 0) {
        fprintf(out, " reason=");
        print_quoted(out, reason);
    }
    fputc('\n', out);
}

static void print_message(struct listing *l, const struct spool_listed *m, struct slice record)
{
    static struct envelope_rcpt
        rcpts[ENVELOPE_RCPTS_MAX]; /* too large for the stack; one command, one thread */
    struct envelope env;
    struct slice encoded = slice_first(slice_from(record, m->prefix_bytes), m->envelope_bytes);
    if (envelope_decode(&env, rcpts, ENVELOPE_RCPTS_MAX, encoded) != MX_OK) {
        fprintf(l->err, "ringmx: a message's envelope is malformed: ");
        print_id(l->err, m->id);
        fputc('\n', l->err);
        l->failed = true;
        return;
    }
    print_id(l->out, m->id);
    fprintf(l->out, " arrived=");
    print_time(l->out, m->arrived_ms);
    fprintf(l->out, " bytes=%llu from=<", (unsigned long long)m->body_bytes);
    print_slice(l->out, env.sender);
    fprintf(l->out, ">%s\n", m->incomplete ? " INCOMPLETE" : "");
    for (uint32_t i = 0; i < m->rcpt_count; i++) {
        print_rcpt(l->out, m, &env, i);
    }
    if (qid_none(l->wanted)) {
        return;
    }
    fputc('\n', l->out);
    (void)fwrite(env.prefix.ptr, 1, env.prefix.len, l->out);
    if (m->extent_count > 0) {
        fprintf(l->out, "(the content is large and not shown)\n");
        return;
    }
    struct slice content = slice_from(record, m->prefix_bytes + m->envelope_bytes);
    (void)fwrite(content.ptr, 1, content.len, l->out);
}

static void each_message(void *arg, const struct spool_listed *m)
{
    struct listing *l = arg;
    if (!qid_none(l->wanted) && !qid_equal(l->wanted, m->id)) {
        return;
    }
    uint8_t *buf = malloc(m->ref.len > 0 ? m->ref.len : 1);
    mx_err err = buf == NULL ? MX_ERR_NOMEM : journal_store_read(l->store, m->ref, buf);
    l->shown++;
    if (err == MX_OK) {
        print_message(l, m, slice_of(buf, m->ref.len));
    } else {
        fprintf(l->err, "ringmx: cannot read message ");
        print_id(l->err, m->id);
        fprintf(l->err, ": %s\n", err_text(err));
        l->failed = true;
    }
    free(buf);
}

/* The last line, and the exit code. */
static int report(const struct listing *l)
{
    if (qid_none(l->wanted)) {
        fprintf(l->out, "%llu messages\n", (unsigned long long)l->shown);
    } else if (l->shown == 0) {
        fprintf(l->err, "ringmx: no such message in the queue\n");
        return 1;
    }
    return l->failed ? 1 : 0;
}

static int show(struct listing *l, struct data_dir *dir)
{
    struct spool_recovery *recovery = NULL;
    struct spool_recovered found;
    struct log log;
    mx_err err = log_init(&log, -1, LOG_WARN);
    if (err == MX_OK) {
        err = journal_store_open_readonly(&l->store, dir->journal, &log);
    }
    if (err == MX_ERR_NOTFOUND) {
        log_fini(&log);
        return report(l); /* no journal yet */
    }
    if (err == MX_OK) {
        struct spool_recover_conf conf = {.log = &log};
        err = spool_recover(&recovery, l->store, &conf, &found);
    }
    uint8_t line[LOG_TEXT_BYTES];
    struct writer w = writer_init(line, sizeof line);
    while (log_take(&log, &w)) {
        (void)fwrite(line, 1, w.len, l->err);
        w = writer_init(line, sizeof line);
    }
    if (err == MX_OK) {
        spool_recovery_each(recovery, each_message, l);
    } else {
        fprintf(l->err, "ringmx: the queue in '%s' cannot be read: %s\n", dir->journal,
                err_text(err));
    }
    spool_recovery_free(recovery);
    journal_store_close(l->store);
    log_fini(&log);
    return err == MX_OK ? report(l) : 1;
}

static int usage(FILE *err)
{
    fprintf(err, "usage: ringmx queue list --data DIR\n"
                 "       ringmx queue show ID --data DIR\n");
    return 2;
}

int queue_command(int argc, char **argv, FILE *out, FILE *err)
{
    const char *data = NULL, *words[2] = {NULL, NULL};
    unsigned count = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--data") == 0 && i + 1 < argc) {
            data = argv[++i];
        } else if (argv[i][0] != '-' && count < 2) {
            words[count++] = argv[i];
        } else {
            return usage(err);
        }
    }
    struct listing l = {.out = out, .err = err};
    bool list = count == 1 && strcmp(words[0], "list") == 0;
    bool one = count == 2 && strcmp(words[0], "show") == 0;
    if (data == NULL || (!list && !one)) {
        return usage(err);
    }
    if (one && qid_parse(&l.wanted, slice_of_text(words[1])) != MX_OK) {
        fprintf(err, "ringmx: '%s' is not a queue id\n", words[1]);
        return 2;
    }
    struct data_dir dir;
    bool exists = false;
    mx_err problem = sys_exists(&exists, data);
    if (problem || !exists) { /* a mistyped folder is not made, and is no empty queue */
        fprintf(err, "ringmx: data folder '%s': %s\n", data,
                err_text(problem ? problem : MX_ERR_NOTFOUND));
        return 1;
    }
    int code = data_dir_open(&dir, data, err) == MX_OK ? show(&l, &dir) : 1;
    data_dir_close(&dir);
    return code;
}
