/* The server's address: http:// or https://, a host, a port, and a path that is put before that of
 * every request. Pure. */
#pragma once

#include "core/slice.h"

enum { URL_HOST_MAX = 255, URL_TEXT_MAX = 2000 };

struct url {
    bool tls;
    char host[URL_HOST_MAX + 1];      /* without brackets */
    char port[6];                     /* decimal */
    char authority[URL_HOST_MAX + 9]; /* for the Host field: as given */
    const char *path;                 /* into text: "" or "/prefix" */
    char text[URL_TEXT_MAX + 1];      /* as given, without slashes at its end */
};

/* NULL, or what is wrong with text. */
const char *url_parse(struct url *out_url, const char *text);
