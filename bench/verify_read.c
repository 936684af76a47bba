#include "bench/verify_read.h"

#include "bench/mark.h"
#include "core/text.h"
#include "io/clock.h"
#include "io/sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define LEDGER_BYTES_MAX (UINT64_C(64) << 30)

enum { MESSAGE_BYTES_MAX = 256 * 1024 * 1024, PATH_BYTES = 4096, REPORT_RCPTS_MAX = 1000 };

static void complain(const char *path, const char *why)
{
    fprintf(stderr, "ringmx-bench: %s: %s\n", path, why);
}

/* Room for one more of size bytes. */
static bool grow(void *array, size_t *cap, size_t count, size_t size)
{
    void **at = array;
    if (count < *cap) {
        return true;
    }
    size_t more = *cap == 0 ? 1024 : *cap * 2;
    void *grown = count < VERIFY_ENTRIES_MAX ? realloc(*at, more * size) : NULL;
    if (grown == NULL) {
        return false;
    }
    *at = grown;
    *cap = more;
    return true;
}

static bool keep_text(struct verify_input *in, uint8_t *text)
{
    if (!grow(&in->texts, &in->text_cap, in->text_count, sizeof *in->texts)) {
        free(text);
        return false;
    }
    in->texts[in->text_count++] = text;
    return true;
}

static bool add_record(struct verify_input *in, const struct ledger_entry *e)
{
    if (!grow(&in->records, &in->record_cap, in->record_count, sizeof *in->records)) {
        return false;
    }
    in->records[in->record_count] = (struct verify_record){
        .key = hash_checksum_next(hash_checksum(e->id), e->rcpt),
        .id = e->id,
        .rcpt = e->rcpt,
        .hash = e->hash,
        .time_us = e->time_us,
        .since_us = e->since_us,
        .index = in->record_count,
        .kind = e->kind,
    };
    in->record_count++;
    in->senders += e->kind == LEDGER_ACKED || e->kind == LEDGER_REFUSED || e->kind == LEDGER_UNSURE;
    return true;
}

/* --- ledgers -----------------------------------------------------------------------------------
 */

static mx_err add_entry(struct verify_input *in, const struct ledger_entry *e)
{
    if (e->kind == LEDGER_KILL) {
        if (!grow(&in->kills, &in->kill_cap, in->kill_count, sizeof *in->kills)) {
            return MX_ERR_NOMEM;
        }
        in->kills[in->kill_count++] = (struct verify_kill){e->time_us, e->until_us, e->mark_us};
        return MX_OK;
    }
    if (slice_equal(e->id, SLICE_LITERAL("-"))) {
        in->unmarked++;
        return MX_OK;
    }
    return add_record(in, e) ? MX_OK : MX_ERR_NOMEM;
}

static mx_err add_lines(struct verify_input *in, struct slice text, size_t *out_line)
{
    for (*out_line = 1; text.len > 0; (*out_line)++) {
        size_t end = slice_find(text, '\n');
        struct ledger_entry entry;
        mx_err err = end == text.len ? MX_ERR_SYNTAX : ledger_parse(&entry, slice_first(text, end));
        if (!err) {
            err = add_entry(in, &entry);
        }
        if (err && err != MX_ERR_NOTFOUND) {
            return err;
        }
        text = slice_from(text, end + 1);
    }
    return MX_OK;
}

static bool read_ledger(struct verify_input *in, const char *path)
{
    uint8_t *bytes = NULL;
    size_t len = 0, line = 0;
    mx_err err = sys_read_file(&bytes, &len, path, LEDGER_BYTES_MAX);
    if (err) {
        complain(path, err_text(err));
        return false;
    }
    if (!keep_text(in, bytes)) {
        complain(path, err_text(MX_ERR_NOMEM));
        return false;
    }
    err = add_lines(in, slice_of(bytes, len), &line);
    if (err) {
        fprintf(stderr, "ringmx-bench: %s: line %zu: %s\n", path, line, err_text(err));
    }
    return err == MX_OK;
}

/* --- Maildir -----------------------------------------------------------------------------------
 */

struct mailbox {
    struct verify_input *in;
    const char *folder;
};

static struct slice take_line(struct slice *rest)
{
    size_t lf = slice_find(*rest, '\n');
    struct slice line = slice_first(*rest, lf > 0 && rest->ptr[lf - 1] == '\r' ? lf - 1 : lf);
    *rest = slice_from(*rest, lf < rest->len ? lf + 1 : lf);
    return line;
}

/* The trimmed text behind "Name:" if the line begins with it. */
static bool field(struct slice *out, struct slice line, const char *name)
{
    struct slice prefix = slice_of_text(name);
    if (!text_starts_nocase(line, prefix)) {
        return false;
    }
    *out = text_trim(slice_from(line, prefix.len));
    return true;
}

static struct slice delivered_to(struct slice message)
{
    struct slice rcpt = SLICE_EMPTY;
    while (message.len > 0) {
        struct slice line = take_line(&message);
        if (line.len == 0 || field(&rcpt, line, "Delivered-To:")) {
            break;
        }
    }
    return rcpt;
}

/* A failure report: the recipients that failed, of the message whose headers it carries. */
static bool add_report(struct verify_input *in, struct slice message)
{
    struct slice failed[REPORT_RCPTS_MAX], rcpt = SLICE_EMPTY, text, id = SLICE_EMPTY;
    size_t count = 0;
    while (message.len > 0 && id.len == 0) {
        struct slice line = take_line(&message);
        if (field(&text, line, "Final-Recipient:")) {
            rcpt = text_trim(slice_from(text, mx_min_size(slice_find(text, ';') + 1, text.len)));
        } else if (field(&text, line, "Action:")) {
            if (text_equal_nocase(text, SLICE_LITERAL("failed")) && count < REPORT_RCPTS_MAX) {
                failed[count++] = rcpt;
            }
        } else {
            (void)field(&id, line, "X-Ringmx-Id:");
        }
    }
    if (id.len == 0 || count == 0) {
        in->unmarked++;
        return true;
    }
    bool added = true;
    for (size_t i = 0; i < count && added; i++) {
        struct ledger_entry entry = {.kind = LEDGER_BOUNCED,
                                     .time_us = VERIFY_NO_TIME,
                                     .since_us = VERIFY_NO_TIME,
                                     .id = id,
                                     .rcpt = failed[i]};
        added = add_record(in, &entry);
    }
    return added;
}

/* Copies what the record borrows, so that the message itself can be let go. */
static bool add_copy(struct verify_input *in, const struct mark_reader *mark, struct slice rcpt,
                     uint64_t moved_us)
{
    struct slice id = mark_reader_id(mark);
    uint8_t *text = malloc(id.len + rcpt.len + 1);
    if (text == NULL || !keep_text(in, text)) {
        return false;
    }
    memcpy(text, id.ptr, id.len);
    if (rcpt.len > 0) {
        memcpy(text + id.len, rcpt.ptr, rcpt.len);
    }
    struct ledger_entry entry = {.kind = LEDGER_TAKEN,
                                 .time_us = VERIFY_NO_TIME,
                                 .since_us = moved_us,
                                 .id = slice_of(text, id.len),
                                 .rcpt = slice_of(text + id.len, rcpt.len),
                                 .hash = mark_reader_hash(mark)};
    return add_record(in, &entry);
}

/* When the file got its place, by the clock of the ledgers: its inode changed last when it was
 * moved there, which may be long after it was written and synced. A file that is gone by now:
 * VERIFY_NO_TIME. */
static uint64_t moved_us(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        return VERIFY_NO_TIME;
    }
    int64_t wall_us =
        (int64_t)status.st_ctim.tv_sec * 1000000 + (int64_t)status.st_ctim.tv_nsec / 1000;
    int64_t age_us = clock_wall_ms() * 1000 - wall_us;
    int64_t us = (int64_t)(clock_monotonic_ns() / 1000) - age_us;
    return us > 0 ? (uint64_t)us : 0;
}

static mx_err read_message(void *arg, const char *file)
{
    struct mailbox *box = arg;
    struct mark_reader mark;
    char path[PATH_BYTES];
    uint8_t *bytes = NULL;
    size_t len = 0;
    int n = snprintf(path, sizeof path, "%s/%s", box->folder, file);
    if (n < 0 || (size_t)n >= sizeof path) {
        return MX_ERR_LIMIT;
    }
    mx_err err = sys_read_file(&bytes, &len, path, MESSAGE_BYTES_MAX);
    if (err) {
        return err == MX_ERR_NOTFOUND ? MX_OK : err; /* moved from new/ to cur/ meanwhile */
    }
    struct slice message = slice_of(bytes, len);
    mark_reader_init(&mark);
    mark_reader_add(&mark, message);
    if (!mark.found) {
        return keep_text(box->in, bytes) && add_report(box->in, message) ? MX_OK : MX_ERR_NOMEM;
    }
    bool added = add_copy(box->in, &mark, delivered_to(message), moved_us(path));
    free(bytes);
    return added ? MX_OK : MX_ERR_NOMEM;
}

static bool read_maildir(struct verify_input *in, const char *path)
{
    static const char *const folders[] = {"new", "cur"};
    for (size_t i = 0; i < mx_countof(folders); i++) {
        char folder[PATH_BYTES];
        int n = snprintf(folder, sizeof folder, "%s/%s", path, folders[i]);
        struct mailbox box = {.in = in, .folder = folder};
        mx_err err = n < 0 || (size_t)n >= sizeof folder ? MX_ERR_LIMIT
                                                         : sys_list(folder, read_message, &box);
        if (err) {
            complain(folder, err_text(err));
            return false;
        }
    }
    return true;
}

bool verify_read(struct verify_input *in, const struct verify_conf *conf)
{
    bool good = true;
    for (unsigned i = 0; i < conf->ledger_count && good; i++) {
        good = read_ledger(in, conf->ledgers[i]);
    }
    for (unsigned i = 0; i < conf->maildir_count && good; i++) {
        good = read_maildir(in, conf->maildirs[i]);
    }
    return good;
}

void verify_input_fini(struct verify_input *in)
{
    for (size_t i = 0; i < in->text_count; i++) {
        free(in->texts[i]);
    }
    free(in->texts);
    free(in->records);
    free(in->kills);
    *in = (struct verify_input){0};
}
