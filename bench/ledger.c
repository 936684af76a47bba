#include "bench/ledger.h"

#include "core/text.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static const struct slice words[] = {
#define LEDGER(name, word) SLICE_LITERAL(word),
#include "bench/ledger.def"
#undef LEDGER
};

mx_err ledger_open(struct ledger *ledger, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    ledger->fd_plus_one = fd + 1;
    ledger->err = MX_OK;
    ledger->out = writer_init(ledger->buf, sizeof ledger->buf);
    return MX_OK;
}

void ledger_flush(struct ledger *ledger)
{
    size_t done = 0;
    while (ledger->err == MX_OK && done < ledger->out.len) {
        ssize_t n = write(ledger->fd_plus_one - 1, ledger->buf + done, ledger->out.len - done);
        if (n >= 0) {
            done += (size_t)n;
        } else if (errno != EINTR) {
            ledger->err = err_from_errno(errno);
        }
    }
    ledger->out.len = 0;
}

void ledger_close(struct ledger *ledger)
{
    if (ledger->fd_plus_one > 0) {
        ledger_flush(ledger);
        (void)close(ledger->fd_plus_one - 1);
        ledger->fd_plus_one = 0;
    }
}

void ledger_add(struct ledger *ledger, const struct ledger_entry *entry)
{
    struct writer *w = &ledger->out;
    if (ledger->fd_plus_one == 0) {
        return;
    }
    if (writer_room(w) < LEDGER_LINE_MAX) {
        ledger_flush(ledger);
    }
    put_slice(w, words[entry->kind]);
    put_char(w, ' ');
    put_decimal(w, entry->time_us);
    put_char(w, ' ');
    put_decimal(w, entry->since_us);
    put_char(w, ' ');
    put_slice(w, entry->id.len > 0 ? entry->id : SLICE_LITERAL("-"));
    put_char(w, ' ');
    put_hex(w, entry->hash);
    put_char(w, ' ');
    put_decimal(w, entry->bytes);
    put_char(w, ' ');
    put_slice(w, slice_first(entry->rcpt, LEDGER_LINE_MAX / 2));
    put_char(w, '\n');
}

/* --- reading -----------------------------------------------------------------------------------
 */

static struct slice next_word(struct slice *rest)
{
    size_t end = slice_find(*rest, ' ');
    struct slice word = slice_first(*rest, end);
    *rest = slice_from(*rest, end < rest->len ? end + 1 : end);
    return word;
}

static bool hex_number(uint64_t *out, struct slice text)
{
    uint64_t value = 0;
    if (text.len == 0 || text.len > 16) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (!ascii_is_digit(c) && (c < 'a' || c > 'f')) {
            return false;
        }
        value = value << 4 | (uint64_t)(ascii_is_digit(c) ? c - '0' : c - 'a' + 10);
    }
    *out = value;
    return true;
}

mx_err ledger_parse(struct ledger_entry *out, struct slice line)
{
    struct ledger_entry entry = {.kind = LEDGER_KINDS};
    struct slice rest = line;
    if (line.len == 0 || line.ptr[0] == '#') {
        return MX_ERR_NOTFOUND;
    }
    struct slice word = next_word(&rest);
    for (unsigned i = 0; i < LEDGER_KINDS; i++) {
        if (slice_equal(word, words[i])) {
            entry.kind = (enum ledger_kind)i;
        }
    }
    if (entry.kind == LEDGER_KINDS || text_to_u64(&entry.time_us, next_word(&rest)) != MX_OK) {
        return MX_ERR_SYNTAX;
    }
    if (entry.kind == LEDGER_KILL) {
        mx_err err = text_to_u64(&entry.until_us, next_word(&rest));
        if (!err && rest.len > 0) {
            err = text_to_u64(&entry.mark_us, rest);
        }
        if (err || entry.until_us < entry.time_us) {
            return MX_ERR_SYNTAX;
        }
    } else {
        mx_err err = text_to_u64(&entry.since_us, next_word(&rest));
        entry.id = next_word(&rest);
        if (err || !hex_number(&entry.hash, next_word(&rest)) ||
            text_to_u64(&entry.bytes, next_word(&rest)) != MX_OK || entry.id.len == 0 ||
            rest.len == 0) {
            return MX_ERR_SYNTAX;
        }
        entry.rcpt = rest;
    }
    *out = entry;
    return MX_OK;
}
