#include "admin/password.h"

#include "admin/password_strength.h"
#include "core/text.h"
#include "io/random.h"

#include <argon2.h>
#include <stdio.h>

enum { SALT_BYTES = 16, HASH_BYTES = 32, DIFFERENT_BYTES_MIN = 4 };

static const char base64_alphabet[65] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool password_is_hash(struct slice text)
{
    struct slice prefix = SLICE_LITERAL("$argon2id$");
    return slice_equal(slice_first(text, prefix.len), prefix);
}

/* "$6$...", "$2b$...", "{SSHA}...": a name between the marks. */
static bool is_other_hash(struct slice text)
{
    if (text.len < 3 || (text.ptr[0] != '$' && text.ptr[0] != '{')) {
        return false;
    }
    size_t end = slice_find(slice_from(text, 1), text.ptr[0] == '$' ? '$' : '}') + 1;
    if (end >= text.len || end == 1) {
        return false;
    }
    for (size_t i = 1; i < end; i++) {
        if (!ascii_is_alnum(text.ptr[i]) && text.ptr[i] != '-' && text.ptr[i] != '.') {
            return false;
        }
    }
    return true;
}

static unsigned different_bytes(struct slice text)
{
    bool seen[256] = {false};
    unsigned count = 0;
    for (size_t i = 0; i < text.len; i++) {
        count += !seen[text.ptr[i]];
        seen[text.ptr[i]] = true;
    }
    return count;
}

static const char other_hash[] =
    "is a hash of a kind that is not supported by ringmx; it takes $argon2id$";

const char *password_problem(struct slice text)
{
    if (is_other_hash(text)) {
        return other_hash;
    }
    if (text.len < PASSWORD_MIN) {
        return "is too weak: shorter than 8 bytes";
    }
    if (text.len > PASSWORD_MAX) {
        return "is longer than 128 bytes";
    }
    if (different_bytes(text) < DIFFERENT_BYTES_MIN) {
        return "is too weak: fewer than 4 different characters";
    }
    return password_bits(text) < PASSWORD_BITS_MIN
               ? "is too weak: common words, sequences, years and repetitions are guessed first"
               : NULL;
}

/* The number behind name, without leading zeros. */
static bool get_number(struct slice *text, const char *name, uint64_t *out_number)
{
    struct slice prefix = slice_of_text(name);
    if (!slice_equal(slice_first(*text, prefix.len), prefix)) {
        return false;
    }
    *text = slice_from(*text, prefix.len);
    size_t len = 0;
    while (len < text->len && ascii_is_digit(text->ptr[len])) {
        len++;
    }
    struct slice digits = slice_first(*text, len);
    *text = slice_from(*text, len);
    return (len == 1 || (len > 0 && digits.ptr[0] != '0')) &&
           text_to_u64(out_number, digits) == MX_OK;
}

/* The costs are bounded, so the hash may be computed; *rest is its salt and what follows. */
static bool is_affordable(struct slice hash, struct slice *rest)
{
    uint64_t version, memory, passes, lanes;
    bool good = get_number(&hash, "$argon2id$v=", &version) && get_number(&hash, "$m=", &memory) &&
                get_number(&hash, ",t=", &passes) && get_number(&hash, ",p=", &lanes);
    *rest = hash;
    return good && (version == ARGON2_VERSION_10 || version == ARGON2_VERSION_13) &&
           lanes >= ARGON2_MIN_LANES && lanes <= PASSWORD_LANES_MAX &&
           memory >= 2 * ARGON2_SYNC_POINTS * lanes && memory <= PASSWORD_MEMORY_KIB_MAX &&
           passes >= ARGON2_MIN_TIME && passes <= PASSWORD_PASSES_MAX &&
           memory * passes <= PASSWORD_WORK_KIB_MAX;
}

/* A "$" and bytes in base64 without padding, whose last bits are zero; at least so many. */
static bool get_base64(struct slice *text, size_t bytes_min)
{
    uint32_t last = 0;
    size_t len = 1;
    if (text->len == 0 || text->ptr[0] != '$') {
        return false;
    }
    for (; len < text->len && text->ptr[len] != '$'; len++) {
        const char *found = memchr(base64_alphabet, text->ptr[len], sizeof base64_alphabet - 1);
        if (found == NULL) {
            return false;
        }
        last = (uint32_t)(found - base64_alphabet);
    }
    *text = slice_from(*text, len);
    size_t bits = 6 * (len - 1);
    return bits % 8 != 6 && (last & ((1u << bits % 8) - 1)) == 0 && bits / 8 >= bytes_min;
}

const char *password_hash_problem(struct slice text)
{
    struct slice rest;
    if (text.len >= PASSWORD_HASH_MAX) {
        return "is not an argon2id hash: it is too long";
    }
    if (!is_affordable(text, &rest)) {
        return "is not an argon2id hash of at most 128 MiB, 16 passes and 8 lanes";
    }
    return get_base64(&rest, ARGON2_MIN_SALT_LENGTH) && get_base64(&rest, ARGON2_MIN_OUTLEN) &&
                   rest.len == 0
               ? NULL
               : "is not an argon2id hash";
}

const char *password_kind_problem(struct slice text)
{
    if (password_is_hash(text)) {
        return password_hash_problem(text);
    }
    return is_other_hash(text) ? other_hash : NULL;
}

mx_err password_hash(char out[PASSWORD_HASH_MAX], struct slice secret)
{
    uint8_t salt[SALT_BYTES];
    random_fill(salt, sizeof salt);
    int rc =
        argon2id_hash_encoded(PASSWORD_PASSES, PASSWORD_MEMORY_KIB, PASSWORD_LANES, secret.ptr,
                              secret.len, salt, sizeof salt, HASH_BYTES, out, PASSWORD_HASH_MAX);
    return rc == ARGON2_OK ? MX_OK : MX_ERR_NOMEM;
}

/* Base64 without padding, as the PHC string format has it. */
static char *put_base64(char *at, const uint8_t *bytes, size_t len)
{
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | bytes[i];
        for (count += 8; count >= 6; count -= 6) {
            *at++ = base64_alphabet[bits >> (count - 6) & 63];
        }
    }
    if (count > 0) {
        *at++ = base64_alphabet[bits << (6 - count) & 63];
    }
    return at;
}

void password_decoy(char out[PASSWORD_HASH_MAX])
{
    uint8_t salt[SALT_BYTES], hash[HASH_BYTES];
    random_fill(salt, sizeof salt);
    random_fill(hash, sizeof hash);
    char *at = out + snprintf(out, PASSWORD_HASH_MAX, "$argon2id$v=%d$m=%d,t=%d,p=%d$",
                              (int)ARGON2_VERSION_NUMBER, PASSWORD_MEMORY_KIB, PASSWORD_PASSES,
                              PASSWORD_LANES);
    at = put_base64(at, salt, sizeof salt);
    *at++ = '$';
    at = put_base64(at, hash, sizeof hash);
    *at = '\0';
}

bool password_verify(const char *hash, struct slice secret)
{
    struct slice rest;
    return is_affordable(slice_of_text(hash), &rest) &&
           argon2id_verify(hash, secret.ptr, secret.len) == ARGON2_OK;
}
