#include "admin/environment.h"

#include "admin/password.h"
#include "core/slice.h"
#include "core/text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static struct slice trimmed(const char *text)
{
    struct slice s = slice_of_text(text);
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s = slice_from(s, 1);
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

/* False: empty or too long. */
static bool copy(char *out, size_t cap, struct slice text)
{
    if (text.len == 0 || text.len >= cap) {
        return false;
    }
    memcpy(out, text.ptr, text.len);
    out[text.len] = '\0';
    return true;
}

static bool read_admin(struct environment *out, const char *text, FILE *err)
{
    struct slice all = slice_of_text(text);
    size_t colon = slice_find(all, ':');
    char user[sizeof out->recovery_user], password[sizeof out->recovery_password];
    bool good = colon < all.len;
    if (good) {
        (void)snprintf(user, sizeof user, "%.*s", (int)colon, text);
        (void)snprintf(password, sizeof password, "%s", text + colon + 1);
        good = colon < sizeof user && all.len - colon - 1 < sizeof password &&
               copy(out->recovery_user, sizeof out->recovery_user, trimmed(user)) &&
               copy(out->recovery_password, sizeof out->recovery_password, trimmed(password));
    }
    if (!good) {
        fprintf(err, "ringmx: STALWART_RECOVERY_ADMIN must be user:password, both not empty and at "
                     "most 255 bytes\n");
    }
    explicit_bzero(password, sizeof password);
    const char *problem =
        good ? password_kind_problem(slice_of_text(out->recovery_password)) : NULL;
    if (problem != NULL) {
        fprintf(err, "ringmx: STALWART_RECOVERY_ADMIN: the password %s\n", problem);
    }
    return good && problem == NULL;
}

/* The text stands in memory that everybody with this user's rights may read. */
static void remove_admin(const char *text)
{
    explicit_bzero((char *)(uintptr_t)text, strlen(text));
    (void)unsetenv("STALWART_RECOVERY_ADMIN");
}

void environment_forget(struct environment *env)
{
    explicit_bzero(env->recovery_password, sizeof env->recovery_password);
}

static bool read_port(struct environment *out, const char *text, FILE *err)
{
    uint64_t port;
    if (text_to_u64(&port, slice_of_text(text)) != MX_OK || port == 0 || port > UINT16_MAX) {
        fprintf(err, "ringmx: STALWART_RECOVERY_MODE_PORT must be a port, 1 to 65535\n");
        return false;
    }
    out->recovery_port = (uint16_t)port;
    return true;
}

static bool read_url(struct environment *out, const char *text, FILE *err)
{
    struct slice url = trimmed(text);
    while (url.len > 0 && url.ptr[url.len - 1] == '/') {
        url.len--;
    }
    struct slice http = SLICE_LITERAL("http://"), https = SLICE_LITERAL("https://");
    bool good = (url.len > http.len && slice_equal(slice_first(url, http.len), http)) ||
                (url.len > https.len && slice_equal(slice_first(url, https.len), https));
    for (size_t i = 0; i < url.len; i++) {
        good = good && url.ptr[i] > ' ' && url.ptr[i] < 0x7f && url.ptr[i] != '"';
    }
    if (!good || !copy(out->public_url, sizeof out->public_url, url)) {
        fprintf(err,
                "ringmx: STALWART_PUBLIC_URL must begin with http:// or https:// and a host, and "
                "have no blanks\n");
        return false;
    }
    return true;
}

/* Neither yes nor no as the contract has them. */
static bool is_unclear(const char *mode)
{
    static const char *const plain[] = {"", "0", "1", "true", "false", "no", "off"};
    for (size_t i = 0; mode != NULL && i < mx_countof(plain); i++) {
        if (strcasecmp(mode, plain[i]) == 0) {
            return false;
        }
    }
    return mode != NULL;
}

bool environment_read(struct environment *out, FILE *err)
{
    *out = (struct environment){0};
    const char *mode = getenv("STALWART_RECOVERY_MODE");
    const char *port = getenv("STALWART_RECOVERY_MODE_PORT");
    const char *admin = getenv("STALWART_RECOVERY_ADMIN");
    const char *url = getenv("STALWART_PUBLIC_URL");
    out->recovery_mode_unclear = is_unclear(mode);
    out->recovery_mode = mode != NULL && (strcmp(mode, "1") == 0 || strcasecmp(mode, "true") == 0);
    bool good = admin == NULL || read_admin(out, admin, err);
    if (admin != NULL) {
        remove_admin(admin);
    }
    return good && (port == NULL || *port == '\0' || read_port(out, port, err)) &&
           (url == NULL || *url == '\0' || read_url(out, url, err));
}
