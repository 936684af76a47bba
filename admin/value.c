#include "admin/value.h"

#include "admin/permission.h"
#include "core/netaddr.h"
#include "core/text.h"

#include <idn2.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    DOMAIN_NAME_MAX = 253,
    LABEL_MAX = 63,
    LOCAL_NAME_MAX = 64,
    DOMAIN_INPUT_MAX = 1024,
    NAME_MAX_BYTES = 64,
};

/* Names that are domains without a dot: for tests and private networks. */
static const char private_names[] =
    "test localhost local internal lan home corp intranet private localdomain";

MX_PRINTF(2, 3)
static mx_err fail(struct value_problem *problem, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(problem->text, sizeof(problem->text), format, args);
    va_end(args);
    return MX_ERR_SYNTAX;
}

static mx_err fail_at_byte(struct value_problem *problem, const char *what, uint8_t byte)
{
    return ascii_is_graph(byte) ? fail(problem, "%s: '%c' is not allowed", what, byte)
                                : fail(problem, "%s: %s is not allowed", what,
                                       byte == ' ' ? "a space" : "a control character");
}

/* One label of an ASCII name. */
static mx_err check_label(struct slice label, struct value_problem *problem)
{
    if (label.len == 0) {
        return fail(problem, "is not a domain name: it has an empty label");
    }
    if (label.len > LABEL_MAX) {
        return fail(problem, "is not a domain name: a label is longer than %d bytes", LABEL_MAX);
    }
    if (label.ptr[0] == '-' || label.ptr[label.len - 1] == '-') {
        return fail(problem, "is not a domain name: a label begins or ends with '-'");
    }
    for (size_t i = 0; i < label.len; i++) {
        uint8_t c = label.ptr[i];
        if (!ascii_is_alnum(c) && c != '-') {
            return fail_at_byte(problem, "is not a domain name", c);
        }
    }
    return MX_OK;
}

static bool is_number(struct slice label)
{
    for (size_t i = 0; i < label.len; i++) {
        if (!ascii_is_digit(label.ptr[i])) {
            return false;
        }
    }
    return label.len > 0;
}

/* An ASCII, lower-case name without a final dot. */
static mx_err check_ascii_domain(struct slice name, struct value_problem *problem)
{
    if (name.len == 0 || name.len > DOMAIN_NAME_MAX) {
        return fail(problem, "is not a domain name: its length must be 1 to %d bytes",
                    DOMAIN_NAME_MAX);
    }
    struct slice rest = name;
    struct slice label;
    unsigned labels = 0;
    for (;;) {
        size_t end = slice_find(rest, '.');
        label = slice_first(rest, end);
        mx_err err = check_label(label, problem);
        if (err) {
            return err;
        }
        labels++;
        if (end == rest.len) {
            break;
        }
        rest = slice_from(rest, end + 1);
    }
    if (is_number(label)) {
        return fail(problem, "is not a domain name: its last label is a number");
    }
    if (labels == 1 && !reg_has_word(private_names, label)) {
        return fail(problem, "is not a full domain name: it has no dot");
    }
    return MX_OK;
}

/* Converts U-labels and checks A-labels; result is malloc'd by libidn2. */
static mx_err convert_international(char **out_name, const char *name,
                                    struct value_problem *problem)
{
    uint8_t *converted = NULL;
    int rc = idn2_lookup_u8((const uint8_t *)name, &converted,
                            IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL | IDN2_ALABEL_ROUNDTRIP);
    if (rc != IDN2_OK) {
        return fail(problem, "is not an international domain name: %s", idn2_strerror(rc));
    }
    *out_name = (char *)converted;
    return MX_OK;
}

mx_err value_domain(struct writer *out, struct slice text, struct value_problem *problem)
{
    struct slice name = text_trim(text);
    if (name.len > 1 && name.ptr[name.len - 1] == '.') {
        name = slice_first(name, name.len - 1);
    }
    char lower[DOMAIN_INPUT_MAX + 1];
    if (name.len == 0 || name.len > DOMAIN_INPUT_MAX || !text_is_utf8(name)) {
        return fail(problem, "is not a domain name: its length must be 1 to %d bytes",
                    DOMAIN_NAME_MAX);
    }
    text_lower((uint8_t *)lower, name);
    lower[name.len] = 0;
    struct slice ascii = slice_of(lower, name.len);
    char *converted = NULL;
    if (!text_is_ascii(ascii) || strstr(lower, "xn--")) {
        mx_err err = convert_international(&converted, lower, problem);
        if (err) {
            return err;
        }
        ascii = slice_of_text(converted);
    }
    mx_err err = check_ascii_domain(ascii, problem);
    if (!err) {
        put_slice(out, ascii);
    }
    idn2_free(converted);
    return err;
}

/* Dot-atom of RFC 5322 and RFC 6531, so that it needs no quotes. */
static bool is_local_char(uint8_t c)
{
    return c >= 0x80 || ascii_is_alnum(c) || (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

mx_err value_local_part(struct writer *out, struct slice text, struct value_problem *problem)
{
    struct slice local = text_trim(text);
    if (local.len == 0 || local.len > LOCAL_NAME_MAX) {
        return fail(problem, "is not a local part: its length must be 1 to %d bytes",
                    LOCAL_NAME_MAX);
    }
    if (!text_is_utf8(local)) {
        return fail(problem, "is not a local part: it is not UTF-8");
    }
    bool after_dot = true;
    for (size_t i = 0; i < local.len; i++) {
        uint8_t c = local.ptr[i];
        if (c == '.' ? after_dot : !is_local_char(c)) {
            return c == '.' ? fail(problem, "is not a local part: a dot begins it or is doubled")
                            : fail_at_byte(problem, "is not a local part", c);
        }
        after_dot = c == '.';
    }
    if (after_dot) {
        return fail(problem, "is not a local part: it ends with a dot");
    }
    uint8_t lower[LOCAL_NAME_MAX];
    text_lower(lower, local);
    put_bytes(out, lower, local.len);
    return MX_OK;
}

static mx_err value_email(struct writer *out, struct slice text, struct value_problem *problem)
{
    struct slice address = text_trim(text);
    size_t at = address.len;
    while (at > 0 && address.ptr[at - 1] != '@') {
        at--;
    }
    if (at == 0) {
        return fail(problem, "is not an e-mail address: it has no '@'");
    }
    mx_err err = value_local_part(out, slice_first(address, at - 1), problem);
    if (err) {
        return err;
    }
    put_char(out, '@');
    return value_domain(out, slice_from(address, at), problem);
}

static mx_err value_network(struct writer *out, struct slice text, struct value_problem *problem)
{
    struct netmask mask;
    if (netmask_parse(&mask, text_trim(text))) {
        return fail(problem, "is not an IP address or network");
    }
    put_netaddr(out, &mask.addr);
    unsigned whole = mask.addr.family == 4 ? 32 : 128;
    if (mask.bits != whole) {
        put_char(out, '/');
        put_decimal(out, mask.bits);
    }
    return MX_OK;
}

static mx_err value_address(struct writer *out, struct slice text, struct value_problem *problem)
{
    struct netaddr addr;
    if (netaddr_parse(&addr, text_trim(text))) {
        return fail(problem, "is not an IP address");
    }
    put_netaddr(out, &addr);
    return MX_OK;
}

static mx_err value_socket(struct writer *out, struct slice text, struct value_problem *problem)
{
    struct netaddr addr;
    if (netaddr_parse_port(&addr, text_trim(text)) || addr.port == 0) {
        return fail(problem, "is not a socket address such as 0.0.0.0:25 or [::]:25");
    }
    put_netaddr_port(out, &addr);
    return MX_OK;
}

static mx_err value_host(struct writer *out, struct slice text, struct value_problem *problem)
{
    struct slice host = text_trim(text);
    struct netaddr addr;
    if (netaddr_parse(&addr, host) == MX_OK) {
        put_netaddr(out, &addr);
        return MX_OK;
    }
    uint8_t lower[DOMAIN_NAME_MAX];
    if (host.len > 0 && host.len <= LABEL_MAX && slice_find(host, '.') == host.len &&
        text_is_ascii(host)) {
        /* A name of the local network, as in /etc/hosts. */
        text_lower(lower, host);
        struct slice name = slice_of(lower, host.len);
        mx_err err = is_number(name) ? fail(problem, "is not a host name or address")
                                     : check_label(name, problem);
        put_slice(out, name);
        return err;
    }
    return value_domain(out, host, problem);
}

static mx_err value_name(struct writer *out, struct slice text, struct value_problem *problem)
{
    if (text.len == 0 || text.len > NAME_MAX_BYTES) {
        return fail(problem, "must be 1 to %d bytes long", NAME_MAX_BYTES);
    }
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (!ascii_is_alnum(c) && c != '-' && c != '_' && c != '.') {
            return fail(problem, "may hold letters, digits, '-', '_' and '.' only");
        }
    }
    put_slice(out, text);
    return MX_OK;
}

static mx_err value_variable(struct writer *out, struct slice text, struct value_problem *problem)
{
    bool good = text.len > 0 && !ascii_is_digit(text.ptr[0]);
    for (size_t i = 0; good && i < text.len; i++) {
        good = ascii_is_alnum(text.ptr[i]) || text.ptr[i] == '_';
    }
    if (!good) {
        return fail(problem, "is not the name of an environment variable");
    }
    put_slice(out, text);
    return MX_OK;
}

/* Control characters are refused: the text appears in logs and tables. */
static mx_err put_without_controls(struct writer *out, struct slice text, bool lines,
                                   struct value_problem *problem)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        bool line_end = c == '\n' || c == '\r' || c == '\t';
        if ((c < 0x20 && !(lines && line_end)) || c == 0x7f) {
            return fail(problem, "holds a control character");
        }
    }
    put_slice(out, text);
    return MX_OK;
}

static mx_err value_text(struct writer *out, struct slice text, struct value_problem *problem)
{
    return put_without_controls(out, text, false, problem);
}

static mx_err value_trimmed(struct writer *out, struct slice text, struct value_problem *problem)
{
    return put_without_controls(out, text_trim(text), false, problem);
}

static mx_err value_lines(struct writer *out, struct slice text, struct value_problem *problem)
{
    return put_without_controls(out, text, true, problem);
}

static mx_err value_path(struct writer *out, struct slice text, struct value_problem *problem)
{
    if (text.len == 0 || text.ptr[0] != '/') {
        return fail(problem, "is not an absolute path");
    }
    return value_text(out, text, problem);
}

static mx_err value_permission(struct writer *out, struct slice text, struct value_problem *problem)
{
    if (permission_find(text) < 0) {
        return fail(problem, "is not a permission of ringmx");
    }
    put_slice(out, text);
    return MX_OK;
}

mx_err value_normalize(struct writer *out, enum reg_format format, struct slice text,
                       struct value_problem *problem)
{
    /* The others are no text. */
    static mx_err (*const of[])(struct writer *, struct slice, struct value_problem *) = {
        [FORMAT_TEXT] = value_text,
        [FORMAT_TRIM] = value_trimmed,
        [FORMAT_NAME] = value_name,
        [FORMAT_DOMAIN] = value_domain,
        [FORMAT_HOSTNAME] = value_domain,
        [FORMAT_HOST] = value_host,
        [FORMAT_LOCAL_PART] = value_local_part,
        [FORMAT_EMAIL] = value_email,
        [FORMAT_NETWORK] = value_network,
        [FORMAT_ADDRESS] = value_address,
        [FORMAT_SOCKET] = value_socket,
        [FORMAT_PEM] = value_lines,
        [FORMAT_SECRET_PEM] = value_lines,
        [FORMAT_VARIABLE] = value_variable,
        [FORMAT_PATH] = value_path,
        [FORMAT_PERMISSION] = value_permission,
        [FORMAT_PASSWORD] = value_text,
    };
    problem->text[0] = 0;
    if ((size_t)format >= mx_countof(of) || of[format] == NULL) {
        return fail(problem, "is not text");
    }
    mx_err err = of[format](out, text, problem);
    if (!err && out->overflow) {
        err = fail(problem, "is too long");
    }
    return err;
}
