#include "admin/secret_memo.h"

#include <stdlib.h>
#include <string.h>

struct question {
    char old[PASSWORD_HASH_MAX]; /* does it fit? Empty: a hash is wanted */
    char *text;
    size_t len;
    bool answered;
    bool taken; /* a hash, in this run of the call */
    bool fits;
    mx_err err;
    char hash[PASSWORD_HASH_MAX];
};

struct secret_memo {
    bool assume;
    struct question *questions;
    size_t count, cap;
    size_t worked; /* questions before this one are answered */
};

struct secret_memo *secret_memo_new(bool assume)
{
    struct secret_memo *memo = calloc(1, sizeof *memo);
    if (memo != NULL) {
        memo->assume = assume;
    }
    return memo;
}

void secret_memo_free(struct secret_memo *memo)
{
    if (memo != NULL) {
        for (size_t i = 0; i < memo->count; i++) {
            explicit_bzero(memo->questions[i].text, memo->questions[i].len);
            free(memo->questions[i].text);
        }
        free(memo->questions);
        free(memo);
    }
}

void secret_memo_begin(struct secret_memo *memo)
{
    for (size_t i = 0; memo != NULL && i < memo->count; i++) {
        memo->questions[i].taken = false;
    }
}

static struct question *find(struct secret_memo *memo, const char *old, struct slice text)
{
    for (size_t i = 0; i < memo->count; i++) {
        struct question *q = &memo->questions[i];
        if (!q->taken && q->len == text.len && memcmp(q->text, text.ptr, text.len) == 0 &&
            strcmp(q->old, old) == 0) {
            return q;
        }
    }
    return NULL;
}

static mx_err note(struct secret_memo *memo, const char *old, struct slice text,
                   struct question **out_question)
{
    if (memo->count == SECRET_MEMO_MAX) {
        return MX_ERR_LIMIT;
    }
    if (memo->count == memo->cap) {
        size_t cap = memo->cap > 0 ? 2 * memo->cap : 8;
        struct question *questions = realloc(memo->questions, cap * sizeof *questions);
        if (questions == NULL) {
            return MX_ERR_NOMEM;
        }
        memo->questions = questions;
        memo->cap = cap;
    }
    struct question q = {.text = malloc(text.len + 1), .len = text.len};
    if (q.text == NULL) {
        return MX_ERR_NOMEM;
    }
    memcpy(q.text, text.ptr, text.len);
    memcpy(q.old, old, strlen(old) + 1);
    memo->questions[memo->count] = q;
    *out_question = &memo->questions[memo->count++];
    return MX_OK;
}

/* *out_question stays NULL when everything is assumed. */
static mx_err ask(struct secret_memo *memo, const char *old, struct slice text,
                  struct question **out_question)
{
    *out_question = NULL;
    if (memo->assume) {
        return MX_OK;
    }
    *out_question = find(memo, old, text);
    return *out_question != NULL ? MX_OK : note(memo, old, text, out_question);
}

mx_err secret_memo_fits(struct secret_memo *memo, const char *hash, struct slice text,
                        bool *out_fits)
{
    *out_fits = false;
    if (strlen(hash) >= PASSWORD_HASH_MAX) {
        return MX_OK; /* no hash that a password could fit */
    }
    if (memo == NULL) {
        *out_fits = password_verify(hash, text);
        return MX_OK;
    }
    struct question *q;
    mx_err err = ask(memo, hash, text, &q);
    if (!err && q != NULL) {
        *out_fits = !q->answered || q->fits;
    }
    return err;
}

mx_err secret_memo_hash(struct secret_memo *memo, struct slice text, char out[PASSWORD_HASH_MAX])
{
    if (memo == NULL) {
        return password_hash(out, text);
    }
    struct question *q;
    mx_err err = ask(memo, "", text, &q);
    if (err) {
        return err;
    }
    if (q == NULL || !q->answered) {
        password_decoy(out);
    } else {
        memcpy(out, q->hash, sizeof q->hash);
    }
    if (q != NULL) {
        q->taken = true;
        err = q->err;
    }
    return err;
}

bool secret_memo_wants(const struct secret_memo *memo)
{
    return memo != NULL && memo->worked < memo->count;
}

void secret_memo_work(struct secret_memo *memo)
{
    if (!secret_memo_wants(memo)) {
        return;
    }
    struct question *q = &memo->questions[memo->worked++];
    struct slice text = slice_of(q->text, q->len);
    if (q->old[0] != '\0') {
        q->fits = password_verify(q->old, text);
    } else {
        q->err = password_hash(q->hash, text);
    }
    q->answered = true;
}
