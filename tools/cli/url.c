#include "tools/cli/url.h"

#include "core/text.h"

#include <stdio.h>

static const char *port_parse(struct url *url, struct slice digits)
{
    uint64_t port;
    if (text_to_u64(&port, digits) != MX_OK || port == 0 || port > UINT16_MAX) {
        return "the port is not a number from 1 to 65535";
    }
    snprintf(url->port, sizeof url->port, "%u", (unsigned)port);
    return NULL;
}

/* host, host:port, [v6] or [v6]:port */
static const char *authority_parse(struct url *url, struct slice text)
{
    struct slice host = text, port = SLICE_EMPTY;
    size_t end = slice_find(text, ']');
    if (text.len > 0 && text.ptr[0] == '[') {
        if (end == text.len) {
            return "']' is missing";
        }
        host = slice_from(slice_first(text, end), 1);
        port = slice_from(text, end + 1);
    } else {
        host = slice_first(text, slice_find(text, ':'));
        port = slice_from(text, host.len);
    }
    if (host.len == 0 || host.len > URL_HOST_MAX) {
        return "the host is missing or too long";
    }
    for (size_t i = 0; i < text.len; i++) {
        if (!ascii_is_graph(text.ptr[i]) || text.ptr[i] == '@') {
            return "only a host and a port may stand before the path";
        }
    }
    snprintf(url->host, sizeof url->host, "%.*s", SLICE_ARGS(host));
    snprintf(url->authority, sizeof url->authority, "%.*s", SLICE_ARGS(text));
    if (port.len == 0) {
        snprintf(url->port, sizeof url->port, "%s", url->tls ? "443" : "80");
        return NULL;
    }
    return port.ptr[0] == ':' ? port_parse(url, slice_from(port, 1)) : "':' is missing";
}

static const char *path_check(const char *path)
{
    for (; *path != '\0'; path++) {
        if (!ascii_is_graph((uint8_t)*path) || *path == '?' || *path == '#') {
            return "the path may have no blanks, '?' or '#'";
        }
    }
    return NULL;
}

const char *url_parse(struct url *out_url, const char *text)
{
    size_t len = strlen(text);
    while (len > 0 && text[len - 1] == '/') {
        len--;
    }
    if (len > URL_TEXT_MAX) {
        return "it is too long";
    }
    memcpy(out_url->text, text, len);
    out_url->text[len] = '\0';
    out_url->tls = strncmp(out_url->text, "https://", 8) == 0;
    if (!out_url->tls && strncmp(out_url->text, "http://", 7) != 0) {
        return "it does not begin with https:// or http://";
    }
    const char *authority = out_url->text + (out_url->tls ? 8 : 7);
    size_t authority_len = strcspn(authority, "/?#");
    out_url->path = authority + authority_len;
    if (authority_len > sizeof out_url->authority - 1) {
        return "the host is too long";
    }
    const char *problem = authority_parse(out_url, slice_of(authority, authority_len));
    return problem ? problem : path_check(out_url->path);
}
